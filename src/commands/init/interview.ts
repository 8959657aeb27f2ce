import { createInterface, type Interface } from 'node:readline'
import type { Readable } from 'node:stream'
import { reasonOf, TurboPiError } from '../../errors.js'

/** Where questions are asked. */
export interface Terminal {
  input: Readable
  output: NodeJS.WritableStream
}

/** This process's terminal; undefined where nobody sits before it. */
export const ownTerminal = (): Terminal | undefined =>
  process.stdin.isTTY && process.stderr.isTTY ? { input: process.stdin, output: process.stderr } : undefined

export interface Question<T> {
  /** The option that answers it, without its dashes. */
  flag: string
  text: string
  /** What the option said. */
  given: string | undefined
  /** The answer when there is none; without it the question must be answered. */
  otherwise?: string
  /** Throws an Error that says what is expected. */
  read(answer: string): T
}

/** Asks for what no option said: on a terminal until the answer will do; elsewhere what has an answer of its own takes that. */
export class Interview {
  readonly #terminal: Terminal | undefined
  #lines: Interface | undefined
  #answers: AsyncIterator<string> | undefined

  constructor(terminal: Terminal | undefined) {
    this.#terminal = terminal
  }

  /** Questions are asked, not only options read. */
  get asks(): boolean {
    return this.#terminal !== undefined
  }

  /** Throws CONFIG_INVALID. */
  async ask<T>(question: Question<T>): Promise<T> {
    const { flag, text, given, otherwise, read } = question
    if (given !== undefined) return readGiven(flag, given, read)
    if (this.#terminal) return this.#askUntil(question, this.#terminal)
    if (otherwise !== undefined) return readGiven(flag, otherwise, read)
    throw new TurboPiError(
      'CONFIG_INVALID',
      `--${flag} is missing, and there is no terminal to ask on: ${text}.`,
    )
  }

  close(): void {
    this.#lines?.close()
  }

  async #askUntil<T>({ text, otherwise, read }: Question<T>, terminal: Terminal): Promise<T> {
    for (;;) {
      const answer = (await this.#line(`${text}${otherwise ? ` [${otherwise}]` : ''}: `, terminal)).trim()
      try {
        return read(answer === '' && otherwise !== undefined ? otherwise : answer)
      } catch (error) {
        terminal.output.write(`  Expected ${reasonOf(error)}.\n`)
      }
    }
  }

  /** Lines that come before their question wait for it. */
  async #line(prompt: string, { input, output }: Terminal): Promise<string> {
    this.#lines ??= createInterface({ input, output })
    this.#answers ??= this.#lines[Symbol.asyncIterator]()
    this.#lines.setPrompt(prompt)
    this.#lines.prompt()
    const { value, done } = await this.#answers.next()
    if (!done) return value
    throw new TurboPiError(
      'CONFIG_INVALID',
      'The answers ended before the last question; nothing was written.',
    )
  }
}

function readGiven<T>(flag: string, given: string, read: (answer: string) => T): T {
  try {
    return read(given)
  } catch (error) {
    throw new TurboPiError(
      'CONFIG_INVALID',
      `--${flag} takes ${reasonOf(error)}, got ${JSON.stringify(given)}.`,
    )
  }
}
