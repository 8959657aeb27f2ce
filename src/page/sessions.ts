import type { SeenSession, SeenSessions } from '../contract/page.js'
import { ChunkPlot } from './chunk-plot.js'
import { byId, compact, copyOf, html, milliseconds, part, row } from './dom.js'
import { showFindings } from './findings.js'
import { every } from './link.js'
import { get } from './server.js'

const INTERVAL_MS = 1000

export interface SessionsOptions {
  /** The page has other things to show: no word of sessions unless the server watches them. */
  secondary: boolean
  /** Tells the page's own robots, which are shown already. */
  isOwn(session: string): boolean
}

/** Shows the last observation of each session and the chunk that answered it. */
export class SessionsView {
  readonly #options: SessionsOptions
  readonly #cards = new Map<string, SessionCard>()

  constructor(options: SessionsOptions) {
    this.#options = options
    every(INTERVAL_MS, () => this.#poll())
  }

  /** False when the server does not watch sessions: there is nothing to ask for again. */
  async #poll(): Promise<boolean> {
    const response = await get('page/sessions')
    if (!response?.ok) return true
    const { watching, sessions: all } = (await response.json()) as SeenSessions
    const sessions = all.filter(({ session }) => !this.#options.isOwn(session))
    this.#explain(watching, sessions.length)
    const list = byId('session-list', HTMLElement)
    for (const [session, card] of this.#cards) {
      if (sessions.some(seen => seen.session === session)) continue
      card.element.remove()
      this.#cards.delete(session)
    }
    for (const seen of sessions) {
      let card = this.#cards.get(seen.session)
      if (!card) {
        card = new SessionCard(seen.joints)
        this.#cards.set(seen.session, card)
        list.append(card.element)
      }
      card.draw(seen)
    }
    return watching
  }

  #explain(watching: boolean, count: number): void {
    byId('sessions', HTMLElement).hidden = this.#options.secondary && !watching
    const without = watching
      ? 'No other session has sent an observation yet.'
      : 'To see the last observation and action chunk of each session here, start the server with --watch-sessions. It is off by default: whoever opens this page then sees what the robots’ cameras see.'
    byId('sessions-text', HTMLElement).textContent =
      count === 0 ? without : 'The last observation of each session, and the chunk that answered it.'
  }
}

class SessionCard {
  readonly element = copyOf('session-template')
  readonly #plot: ChunkPlot
  #count = 0

  constructor(joints: readonly string[]) {
    this.#plot = new ChunkPlot(part(this.element, 'chunk', HTMLElement), joints)
  }

  draw({
    session,
    count,
    age_ms,
    prompt,
    state,
    cameras,
    actions,
    server_timing,
    findings,
  }: SeenSession): void {
    part(this.element, 'when', HTMLElement).textContent =
      `observation ${count}, ${milliseconds(age_ms)} ago, answered in ${milliseconds(server_timing.total_ms)}`
    if (count === this.#count) return
    this.#count = count
    part(this.element, 'title', HTMLElement).textContent = session
    part(this.element, 'prompt', HTMLElement).textContent = prompt ?? ''
    part(this.element, 'cameras', HTMLElement).replaceChildren(
      ...cameras.map(camera => {
        const image = new Image()
        image.alt = `Camera ${camera}`
        void load(image, `page/sessions/${encodeURIComponent(session)}/${encodeURIComponent(camera)}`)
        const figure = html('figure')
        figure.append(image, html('figcaption', camera))
        return figure
      }),
    )
    part(this.element, 'state', HTMLElement).replaceChildren(
      ...Object.entries(state).map(([key, values]) => row(key, values.map(compact).join('  '))),
    )
    showFindings(this.element, findings)
    this.#plot.draw(actions)
  }
}

/** Fetched rather than linked: a failed one leaves the picture before it. */
async function load(image: HTMLImageElement, path: string): Promise<void> {
  const response = await get(path)
  if (!response?.ok) return
  const url = URL.createObjectURL(await response.blob())
  image.addEventListener('load', () => URL.revokeObjectURL(url), { once: true })
  image.src = url
}
