import type { SeenCamera, SeenSession } from '../contract/page.js'
import { ChunkPlot } from './chunk-plot.js'
import { compact, copyOf, html, milliseconds, nameOf, part } from './dom.js'
import { showFindings } from './findings.js'
import { get } from './server.js'

/** Milliseconds between two looks at what the network sees: each costs the server the decoding of a picture. */
const LOOK_MS = 2000

/** The last observation of one session and its answer. */
export class SessionCard {
  readonly element = copyOf('session-template')
  readonly #plot: ChunkPlot
  readonly #cameras = new Map<string, CameraView>()
  /** Observation on show, and whether with its pictures. */
  #count = 0
  #pictured = 0
  #visible = false

  constructor(joints: readonly string[]) {
    this.#plot = new ChunkPlot(part(this.element, 'chunk', HTMLElement), joints)
    new IntersectionObserver(([entry]) => {
      this.#visible = entry?.isIntersecting ?? false
    }).observe(this.element)
  }

  /** `check`: beside each picture stands what the network sees of it. */
  draw(seen: SeenSession, check: boolean): void {
    const { session, count, age_ms, server_timing } = seen
    part(this.element, 'when', HTMLElement).textContent =
      `observation ${count}, ${milliseconds(age_ms)} ago, answered in ${milliseconds(server_timing.total_ms)}`
    this.element.classList.toggle('checked', check)
    // Pictures that nobody sees are not asked for.
    if (this.#visible) {
      for (const camera of seen.cameras) this.#camera(session, camera).draw(this.#pictured !== count, check)
      this.#pictured = count
    }
    if (count === this.#count) return
    this.#count = count
    part(this.element, 'title', HTMLElement).replaceChildren(nameOf(session))
    part(this.element, 'prompt', HTMLElement).textContent = seen.prompt ?? ''
    part(this.element, 'state', HTMLElement).replaceChildren(
      ...seen.state.map(({ name, value }) => {
        const number = html('div')
        const term = html('dt')
        term.append(nameOf(name))
        number.append(term, html('dd', compact(value)))
        return number
      }),
    )
    showFindings(this.element, seen.findings)
    this.#plot.draw(seen.actions)
  }

  #camera(session: string, camera: SeenCamera): CameraView {
    const known = this.#cameras.get(camera.key)
    if (known) return known
    const view = new CameraView(session, camera)
    this.#cameras.set(camera.key, view)
    part(this.element, 'cameras', HTMLElement).append(view.element)
    return view
  }
}

/** A camera: the picture that was sent and, when it is to be checked, what the network sees of it. */
class CameraView {
  readonly element = html('figure', '', 'camera')
  readonly #path: string
  readonly #slot: string | null
  readonly #sent: Picture
  readonly #seen: Picture
  #lookedAt = Number.NEGATIVE_INFINITY

  constructor(session: string, { key, slot }: SeenCamera) {
    this.#path = `page/sessions/${encodeURIComponent(session)}/${encodeURIComponent(key)}`
    this.#slot = slot
    this.#sent = new Picture(`Camera ${key}`, 'sent')
    this.#seen = new Picture(`What the network sees of ${key}`, slot ?? 'not used by the policy')
    const caption = html('figcaption')
    caption.append(nameOf(key))
    const pair = html('div', '', 'pair')
    pair.append(this.#sent.element, this.#seen.element)
    this.element.append(caption, pair)
  }

  draw(changed: boolean, check: boolean): void {
    if (changed) void this.#sent.load(`${this.#path}/sent`)
    this.#seen.element.hidden = !check
    if (!check || this.#slot === null || performance.now() - this.#lookedAt < LOOK_MS) return
    this.#lookedAt = performance.now()
    void this.#seen.load(`${this.#path}/seen`)
  }
}

class Picture {
  readonly element = html('div')
  readonly #image = new Image()
  readonly #caption = html('small', '', 'muted')
  readonly #name: string

  constructor(alt: string, name: string) {
    this.#image.alt = alt
    this.#name = name
    this.#caption.append(nameOf(name))
    this.element.append(this.#image, this.#caption)
  }

  /** Fetched rather than linked: a failed one leaves the picture before it. */
  async load(path: string): Promise<void> {
    const response = await get(path)
    if (!response?.ok) return
    const url = URL.createObjectURL(await response.blob())
    this.#image.onload = () => {
      URL.revokeObjectURL(url)
      const { naturalWidth, naturalHeight } = this.#image
      this.#caption.replaceChildren(nameOf(this.#name), ` ${naturalWidth} × ${naturalHeight}`)
    }
    this.#image.src = url
  }
}
