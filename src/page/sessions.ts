import type { SeenSessions } from '../contract/page.js'
import { byId } from './dom.js'
import { every } from './link.js'
import { get } from './server.js'
import { SessionCard } from './session-card.js'

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
      card.draw(seen, byId('camera-check', HTMLInputElement).checked)
    }
    return watching
  }

  #explain(watching: boolean, count: number): void {
    byId('camera-check-label', HTMLElement).hidden = count === 0
    byId('sessions', HTMLElement).hidden = this.#options.secondary && !watching
    const without = watching
      ? 'No other session has sent an observation yet.'
      : 'To see the last observation and action chunk of each session here, start the server with --watch-sessions. It is off by default: whoever opens this page then sees what the robots’ cameras see.'
    byId('sessions-text', HTMLElement).textContent =
      count === 0 ? without : 'The last observation of each session, and the chunk that answered it.'
  }
}
