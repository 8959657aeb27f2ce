import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { Config } from '../config.js'
import { type OnStage, percentOf, type Stage } from '../runtime/backend.js'
import type { Metrics } from '../service/metrics.js'
import { logLine } from './kit/log-lines.js'
import { type StageDisplay, stageDisplay } from './kit/stage-display.js'

/** Milliseconds between lines of the log about the same stage. */
const LINE_MS = 10_000

/**
 * What a server tells of itself besides its answers: its log, as lines to read on a terminal and JSON elsewhere; what its start is
 * at, as a bar on a terminal and in the log elsewhere.
 */
export class Reports {
  /** For Fastify; pino writes JSON where there is no stream. */
  readonly logger: { level: string; stream?: { write(json: string): void } }
  readonly #display: StageDisplay | undefined
  readonly #early: ((log: FastifyBaseLogger) => void)[] = []
  #log: FastifyBaseLogger | undefined

  constructor({ logLevel, logFormat }: Pick<Config, 'logLevel' | 'logFormat'>) {
    const lines = logFormat === 'lines' || (logFormat === 'auto' && process.stdout.isTTY)
    if (lines && process.stderr.isTTY) this.#display = stageDisplay()
    const write = (json: string) => this.above(() => process.stdout.write(logLine(json)))
    this.logger = { level: logLevel, ...(lines && { stream: { write } }) }
  }

  /** There is a log from now on; what was to be said waits for it. */
  begin(log: FastifyBaseLogger): void {
    this.#log = log
    for (const say of this.#early.splice(0)) say(log)
  }

  /** A line of the log, now or when there is one. */
  say(say: (log: FastifyBaseLogger) => void): void {
    if (this.#log) say(this.#log)
    else this.#early.push(say)
  }

  /** Hears what a start is at; `name` is the policy's, where there are several. */
  stagesOf(name?: string): OnStage {
    let last: { stage: string; at: number } | undefined
    return stage => {
      if (this.#display) return this.#display.show(name === undefined ? stage : detailed(stage, name))
      const now = performance.now()
      if (last?.stage === stage.name && now - last.at < LINE_MS) return
      last = { stage: stage.name, at: now }
      this.say(log => log.info({ ...(name !== undefined && { name }), ...stageFields(stage) }, 'starting'))
    }
  }

  /** Nothing starts any more. */
  endStages(): void {
    this.#display?.stop()
  }

  /** Where to look, for the person at the terminal. */
  invite(address: string): void {
    if (process.stdout.isTTY && this.logger.stream)
      this.above(() => process.stdout.write(`\n  Open ${address} in a browser. Ctrl-C stops the server.\n\n`))
  }

  above(print: () => void): void {
    if (this.#display) this.#display.above(print)
    else print()
  }
}

const detailed = (stage: Stage, name: string): Stage => ({
  ...stage,
  detail: stage.detail ? `${name}: ${stage.detail}` : name,
})

function stageFields(stage: Stage) {
  const percent = percentOf(stage)
  const { name, detail } = stage
  return { stage: name, ...(detail && { detail }), ...(percent !== undefined && { percent }) }
}

/** The address at which a browser of this machine finds the page. */
export function pageAddress(app: FastifyInstance, basePath: string): string {
  const origin = app.listeningOrigin.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')
  return `${origin}${basePath}/`
}

/** What was counted since the start, for the last line of the log. */
export async function counted(metrics: readonly Metrics[]): Promise<Record<string, number>> {
  const sum = (numbers: readonly number[]) => numbers.reduce((total, one) => total + one, 0)
  return {
    answers: sum(metrics.map(({ totals }) => totals.answers)),
    errors: sum(await Promise.all(metrics.map(one => one.errors()))),
    uptimeSeconds: Math.round(process.uptime()),
  }
}
