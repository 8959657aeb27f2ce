import { LRUCache } from 'lru-cache'
import sharp from 'sharp'
import { actionRows, type InferenceAnswer, serverTiming } from '../../contract/answer.js'
import type { Observation } from '../../contract/observation.js'
import type { SeenSession } from '../../contract/page.js'
import { layoutOf, shapeOf, toRgb } from '../../policy/images/pixels.js'
import type { Answered, ServiceListener } from '../../service/events.js'
import type { Served } from '../../service/served.js'

/** Sessions whose last observation is kept. */
const MAX_SESSIONS = 8

interface Seen {
  observation: Observation
  answer: InferenceAnswer
  at: number
  /** Observations answered in this session. */
  count: number
}

/** Keeps the last observation of each session of a policy and its answer, for people to look at. */
export class SessionWatch implements ServiceListener {
  readonly #served: Served
  readonly #named: boolean
  readonly #seen = new LRUCache<string, Seen>({ max: MAX_SESSIONS })

  /** `named` tells the policy of each session, where several are served. */
  constructor(served: Served, named: boolean) {
    this.#served = served
    this.#named = named
    served.listen(this)
  }

  get #spec() {
    return this.#served.current.service.metadata().observation
  }

  has(session: string): boolean {
    return this.#seen.has(session)
  }

  answered({ observation, answer, session }: Answered): void {
    const count = (this.#seen.peek(session)?.count ?? 0) + 1
    this.#seen.set(session, { observation, answer, at: performance.now(), count })
  }

  /** Most recent first; images are to be had by their camera's key. */
  sessions(): SeenSession[] {
    return Array.from(this.#seen.entries(), ([session, { observation, answer, at, count }]) => ({
      session,
      ...(this.#named && { policy: this.#served.name }),
      count,
      age_ms: performance.now() - at,
      prompt: observation.prompt ?? null,
      state: Object.fromEntries(
        Object.entries(observation.state).map(([key, values]) => [key, Array.from(values)]),
      ),
      cameras: Object.keys(observation.images),
      actions: actionRows(answer),
      joints: this.#served.current.service.metadata().joints,
      findings: answer.guard.findings,
      server_timing: serverTiming(answer),
    }))
  }

  /** An image of a session's last observation as a file: as it came, or raw pixels as PNG. */
  async image(session: string, camera: string): Promise<{ type: string; bytes: Uint8Array } | undefined> {
    const images = this.#seen.peek(session)?.observation.images
    const image = images && Object.hasOwn(images, camera) ? images[camera] : undefined
    if (!image) return undefined
    if (image.kind === 'encoded') {
      const { format } = await sharp(image.bytes).metadata()
      return { type: `image/${format}`, bytes: image.bytes }
    }
    const declared = this.#spec.cameras.find(({ key }) => key === camera)?.layout ?? 'hwc'
    const rgb = toRgb(image, layoutOf(shapeOf(image), declared) ?? declared)
    if (!rgb) return undefined
    const { width, height, pixels } = rgb
    const png = sharp(pixels, { raw: { width, height, channels: 3 } }).png({ compressionLevel: 1 })
    return { type: 'image/png', bytes: await png.toBuffer() }
  }
}
