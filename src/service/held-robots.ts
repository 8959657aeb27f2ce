import { Gauge, Registry } from 'prom-client'
import type { GuardFinding } from '../contract/guard.js'
import { TurboPiError } from '../errors.js'
import { described } from '../policy/guard/refusal.js'

/** Robots that may be held at a time. Beyond them every robot is refused: none of the held may be forgotten. */
const MOST_HELD = 1024

/** A robot that a guard has stopped. */
export interface Hold {
  readonly robot: string
  /** Unix milliseconds. */
  readonly since: number
  readonly finding: GuardFinding
}

/**
 * The robots that a guard in mode hold has stopped: by name, so that a new connection changes nothing, until somebody clears
 * them. A server has one list for all its policies, and a restart of the server empties it.
 */
export class HeldRobots {
  readonly registry = new Registry()
  readonly #held = new Map<string, Hold>()
  readonly #gauge = new Gauge({
    name: 'turbo_pi_robot_held',
    help: 'Robots that a guard has stopped until they are cleared; always 1.',
    labelNames: ['robot'],
    registers: [this.registry],
  })

  get list(): Hold[] {
    return [...this.#held.values()]
  }

  /** Throws ROBOT_HELD for a robot that is held, and ROBOT_INVALID without a name to hold it by. */
  requireFree(robot: string | undefined): void {
    if (robot === undefined)
      throw new TurboPiError(
        'ROBOT_INVALID',
        'This server holds robots by their names (--guard hold), so that each must have one: in hello, ?robot= or X-Robot.',
      )
    const hold = this.#held.get(robot)
    if (hold) throw refusal(hold)
    if (this.#held.size >= MOST_HELD)
      throw new TurboPiError(
        'ROBOT_HELD',
        `${MOST_HELD} robots are held, as many as this server can remember; clear some of them.`,
      )
  }

  /** Holds a robot from now on; returns what to throw. */
  hold(robot: string, finding: GuardFinding): TurboPiError {
    const hold = this.#held.get(robot) ?? { robot, since: Date.now(), finding }
    this.#held.set(robot, hold)
    this.#gauge.set({ robot }, 1)
    return refusal(hold)
  }

  /** Lets a robot go on; returns why it was held, and undefined when it was not. */
  clear(robot: string): Hold | undefined {
    const hold = this.#held.get(robot)
    this.#held.delete(robot)
    this.#gauge.remove({ robot })
    return hold
  }
}

const refusal = ({ robot, since, finding }: Hold) =>
  new TurboPiError(
    'ROBOT_HELD',
    `${robot} is held since ${new Date(since).toISOString()}: ${described(finding)}. Nothing is sent until somebody who has looked at it clears it (docs/guides/guards.md).`,
  )
