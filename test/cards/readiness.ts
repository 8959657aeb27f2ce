import { setTimeout as sleep } from 'node:timers/promises'

/** What /readyz says, each time that it says something else. */
export class Readiness {
  /** "200: 2 of 2 cards", and when, in milliseconds since the watch began. */
  readonly said: { at: number; text: string }[] = []
  #watching = true
  readonly #ended: Promise<void>

  constructor(url: string, onChange: (text: string) => void) {
    this.#ended = this.#watch(url, onChange)
  }

  stop(): Promise<void> {
    this.#watching = false
    return this.#ended
  }

  async #watch(url: string, onChange: (text: string) => void): Promise<void> {
    const start = performance.now()
    for (; this.#watching; await sleep(50)) {
      const text = await readiness(url)
      if (text === this.said.at(-1)?.text) continue
      this.said.push({ at: performance.now() - start, text })
      onChange(text)
    }
  }
}

async function readiness(url: string): Promise<string> {
  try {
    const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(3000) })
    const { cards, detail } = (await response.json()) as { cards?: string; detail?: string }
    return `${response.status}: ${cards ?? detail ?? 'ready'}`
  } catch (error) {
    return `no answer: ${(error as Error).message}`
  }
}
