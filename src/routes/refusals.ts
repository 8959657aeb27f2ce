import type { FastifyBaseLogger } from 'fastify'
import { Counter, Registry } from 'prom-client'
import type { ProblemDocument } from '../contract/problem.js'
import { LogLimit } from './log-limit.js'

/** Who was refused. */
export interface Refused {
  robot?: { readonly name: string } | undefined
  key?: { readonly name: string } | undefined
  /** Of a WebSocket connection. */
  session?: string
  seq?: number | null
}

/** Writes what is refused into the log, and counts what was refused before any policy was asked. */
export class Refusals {
  readonly registry = new Registry()
  readonly #limit = new LogLimit()
  readonly #errors = new Counter({
    name: 'turbo_pi_errors_total',
    help: 'Requests that ended in an error, by its code.',
    labelNames: ['code'],
    registers: [this.registry],
  })

  refused(code: string): void {
    this.#errors.inc({ code })
  }

  /** One line; the log of a request tells its id. Faults of the server are logged elsewhere, with their stack. */
  log(log: FastifyBaseLogger, { status, code, errors }: ProblemDocument, who: Refused): void {
    this.#limit.pass(withheld =>
      log.info(
        {
          status,
          code,
          ...(errors[0] && { field: errors[0].pointer }),
          ...(who.robot && { robot: who.robot.name }),
          ...(who.key && { key: who.key.name }),
          ...(who.session && { session: who.session }),
          ...(typeof who.seq === 'number' && { seq: who.seq }),
          ...withheld,
        },
        'refused',
      ),
    )
  }
}
