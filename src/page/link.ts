/** `lost`: nothing is heard; `locked`: it asks for a key; `limited`: the key has asked for as much as it may. */
export type LinkState = 'up' | 'lost' | 'locked' | 'limited'

/** How much less often is asked of a server that says it is too much. */
const PATIENCE = 5

/** What the page knows of its server, from the replies to all that it asks. */
class ServerLink {
  #state: LinkState = 'up'
  #heardAt: Date | undefined
  readonly #listeners: (() => void)[] = []

  get state(): LinkState {
    return this.#state
  }

  /** When the server last replied; undefined as long as it never has. */
  get heardAt(): Date | undefined {
    return this.#heardAt
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener)
  }

  /** A reply has come, or undefined in its place. */
  replied(response: Response | undefined): void {
    const state = stateAfter(response)
    if (state !== 'lost') this.#heardAt = new Date()
    if (state === this.#state) return
    this.#state = state
    for (const listener of this.#listeners) listener()
  }
}

export const link = new ServerLink()

function stateAfter(response: Response | undefined): LinkState {
  if (!response) return 'lost'
  const { status, headers } = response
  if (status === 401) return 'locked'
  if (status === 429) return 'limited'
  // The server's own refusals are problem documents: this is a proxy's, before a server that is gone.
  const foreign = status >= 502 && status <= 504 && !headers.get('content-type')?.includes('problem+json')
  return foreign ? 'lost' : 'up'
}

/** Does something again and again while the page is seen and the server lets it in, until it returns false. */
export function every(ms: number, task: () => Promise<boolean | undefined>): void {
  const again = async () => {
    let more: boolean | undefined
    try {
      if (!document.hidden && link.state !== 'locked') more = await task()
    } finally {
      if (more !== false) setTimeout(again, link.state === 'limited' ? PATIENCE * ms : ms)
    }
  }
  void again()
}
