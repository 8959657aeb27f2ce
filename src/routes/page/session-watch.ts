import { LRUCache } from 'lru-cache'
import pLimit from 'p-limit'
import sharp from 'sharp'
import { actionRows, type InferenceAnswer, serverTiming } from '../../contract/answer.js'
import type { Observation } from '../../contract/observation.js'
import type { SeenSession } from '../../contract/page.js'
import { layoutOf, shapeOf, toRgb } from '../../policy/images/pixels.js'
import type { RgbImage } from '../../policy/images/resize.js'
import type { Answered, ServiceListener } from '../../service/events.js'
import type { Served } from '../../service/served.js'

/** Sessions whose last observation is kept. */
const MAX_SESSIONS = 8

/** A picture for the page: `sent` as the robot sent it, `seen` as the network sees it. */
export type View = 'sent' | 'seen'

interface ImageFile {
  type: string
  bytes: Uint8Array
}

interface Seen {
  observation: Observation
  answer: InferenceAnswer
  at: number
  /** Observations answered in this session. */
  count: number
  /** What was made of its images, however many pages ask. */
  files: Map<string, Promise<ImageFile | undefined>>
}

// Whoever watches takes one core at most from those who are answered.
const atWork = pLimit(1)

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

  get #metadata() {
    return this.#served.current.service.metadata()
  }

  has(session: string): boolean {
    return this.#seen.has(session)
  }

  answered({ observation, answer, session }: Answered): void {
    const count = (this.#seen.peek(session)?.count ?? 0) + 1
    this.#seen.set(session, { observation, answer, at: performance.now(), count, files: new Map() })
  }

  /** Most recent first; images are to be had by their camera's key. */
  sessions(): SeenSession[] {
    const { joints, stateNames, observation: spec } = this.#metadata
    return Array.from(this.#seen.entries(), ([session, { observation, answer, at, count }]) => ({
      session,
      ...(this.#named && { policy: this.#served.name }),
      count,
      age_ms: performance.now() - at,
      prompt: observation.prompt ?? null,
      state: spec.state
        .flatMap(({ key }) => Array.from(observation.state[key] ?? []))
        .map((value, i) => ({ name: stateNames[i] ?? String(i), value })),
      cameras: Object.keys(observation.images).map(key => ({
        key,
        slot: spec.cameras.find(camera => camera.key === key)?.slot ?? null,
      })),
      actions: actionRows(answer),
      joints,
      findings: answer.guard.findings,
      server_timing: serverTiming(answer),
    }))
  }

  /**
   * An image of a session's last observation as a file: as it came, raw pixels as PNG; or what the network sees of it.
   * Undefined when there is none.
   */
  image(session: string, camera: string, view: View): Promise<ImageFile | undefined> {
    const seen = this.#seen.peek(session)
    if (!seen || !Object.hasOwn(seen.observation.images, camera)) return Promise.resolve(undefined)
    const key = `${view} ${camera}`
    const known = seen.files.get(key)
    if (known) return known
    const file = atWork(() => (view === 'sent' ? this.#sent(seen, camera) : this.#perceived(seen, camera)))
    seen.files.set(key, file)
    return file
  }

  async #sent({ observation: { images } }: Seen, camera: string): Promise<ImageFile | undefined> {
    const image = images[camera]!
    if (image.kind === 'encoded') {
      const { format } = await sharp(image.bytes).metadata()
      return { type: `image/${format}`, bytes: image.bytes }
    }
    const declared = this.#metadata.observation.cameras.find(({ key }) => key === camera)?.layout ?? 'hwc'
    const rgb = toRgb(image, layoutOf(shapeOf(image), declared) ?? declared)
    return rgb && pngOf(rgb)
  }

  async #perceived({ observation }: Seen, camera: string): Promise<ImageFile | undefined> {
    const picture = await this.#served.current.service.picture(observation, camera)
    return picture && pngOf(picture)
  }
}

async function pngOf({ width, height, pixels }: RgbImage): Promise<ImageFile> {
  const png = sharp(pixels, { raw: { width, height, channels: 3 } }).png({ compressionLevel: 1 })
  return { type: 'image/png', bytes: await png.toBuffer() }
}
