const ENTER = '\x1b[?1049h\x1b[?25l'
const LEAVE = '\x1b[?25h\x1b[?1049l'
const HOME = '\x1b[H'
const CLEAR_LINE = '\x1b[K'
const CLEAR_BELOW = '\x1b[J'

/** The whole terminal, shown anew again and again, until q or Ctrl-C is pressed. What was on it before comes back at the end. */
export class Screen {
  ended = false
  #wake: (() => void) | undefined
  readonly #onKey = (key: Buffer): void => {
    if (!['q', 'Q', '\x03'].includes(key.toString())) return
    this.ended = true
    this.#wake?.()
  }

  constructor() {
    process.stdout.write(ENTER)
    if (process.stdin.isTTY) process.stdin.setRawMode(true)
    process.stdin.on('data', this.#onKey).resume()
  }

  // A terminal that does not know its size says 0.
  get lines(): number {
    return process.stdout.rows || 24
  }

  show(text: string): void {
    const fitting = text
      .split('\n')
      .slice(0, this.lines - 1)
      .map(line => line.slice(0, process.stdout.columns || 80) + CLEAR_LINE)
    process.stdout.write(`${HOME}${fitting.join('\r\n')}${CLEAR_BELOW}`)
  }

  /** Resolves after `ms`, or as soon as it has ended. */
  wait(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise(resolve => {
      const end = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', interrupted)
        this.#wake = undefined
        resolve()
      }
      const interrupted = () => {
        this.ended = true
        end()
      }
      const timer = setTimeout(end, ms)
      signal.addEventListener('abort', interrupted, { once: true })
      this.#wake = end
    })
  }

  close(): void {
    process.stdin.off('data', this.#onKey).pause()
    if (process.stdin.isTTY) process.stdin.setRawMode(false)
    process.stdout.write(LEAVE)
  }
}
