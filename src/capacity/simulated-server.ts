import { CALLER_LEFT, Cancellation } from '../cancellation.js'
import type { Clock } from '../clock.js'
import { TurboPiError } from '../errors.js'
import type { RuntimeObserver } from '../runtime/observer.js'
import { Dispatcher } from '../runtime/scheduling/dispatcher.js'
import { Coalescer } from '../service/coalescer.js'
import type { Engine } from '../service/inference.js'
import type { InferenceRequest } from '../service/same-inference.js'
import { Random } from '../tabletop/random.js'
import type { Profile } from './profile.js'
import { SimulatedEngine } from './simulated-engine.js'
import { simulatedPolicy } from './simulated-policy.js'
import { quantile } from './times.js'
import { wait } from './virtual-clock.js'
import { Workers } from './workers.js'

/** Streams of random numbers of a server, above those of robots. */
const STREAMS = 0x80000000

/** One server with its engine: the real queue and coalescer over simulated work. */
export class SimulatedServer {
  readonly steps: number
  readonly clock: Clock
  readonly #engine: Engine
  readonly #coalescer = new Coalescer()
  readonly #thread: Workers
  readonly #threadMs: number
  readonly #profile: Profile
  readonly #random: Random

  constructor(
    profile: Profile,
    clock: Clock,
    { seed, places, observer }: { seed: number; places: number; observer: RuntimeObserver },
  ) {
    this.clock = clock
    this.steps = profile.steps
    this.#profile = profile
    this.#thread = new Workers(1, clock)
    this.#threadMs = profile.wire?.threadMs ?? 0
    this.#random = new Random(seed, STREAMS)
    const runtime = new SimulatedEngine(profile, clock, new Random(seed, STREAMS + 1))
    this.#engine = {
      policy: simulatedPolicy(profile, clock, new Random(seed, STREAMS + 2)),
      model: 'simulated',
      queue: new Dispatcher(runtime, { maxWaiting: places, cores: profile.cores, clock, observer }),
      runtime: runtime.info,
    }
  }

  /** The way of a frame to the server's code, and of its answer away from it: half of the wire's time each. */
  async wire(): Promise<void> {
    const { latency } = this.#profile.wire ?? { latency: [[100, 0]] satisfies [number, number][] }
    const rest = quantile(latency, this.#random.uniform()) - this.#threadMs
    await this.#thread.work(this.#threadMs / 2)
    if (rest > 0) await wait(this.clock, rest / 2)
  }

  /** Resolves with whether it was answered; false when the queue is full or its deadline has passed. Rejects with CALLER_LEFT. */
  async infer(
    request: InferenceRequest,
    session: string,
    deadlineMs: number | undefined,
    signal: Cancellation,
    onStart: () => void,
  ): Promise<'answered' | 'expired' | 'overloaded'> {
    const deadline = deadlineMs === undefined ? undefined : this.clock.now() + deadlineMs
    const caller = { session, signal, acceptsLate: true, replaceable: true, onStart }
    const draw = () => ({ steps: this.steps, noise: 0 })
    try {
      const { inference, shared } = this.#coalescer.ask(this.#engine, request, caller, deadline, draw)
      await (shared ? inference.join(caller, deadline) : inference.wait(caller, deadline))
      return 'answered'
    } catch (error) {
      if (error instanceof TurboPiError && error.code === 'DEADLINE_EXCEEDED') return 'expired'
      if (error instanceof TurboPiError && error.code === 'OVERLOADED') return 'overloaded'
      throw error
    }
  }
}

/** An observation without an answer yet. */
interface Pending {
  readonly cancellation: Cancellation
  skipped: boolean
}

/** What became of an observation. */
export type Outcome = 'answered' | 'superseded' | 'expired' | 'overloaded'

/** One robot's connection. Its rules are those of StreamSession (routes/sockets): of what waits, the newest alone is kept. */
export class SimulatedSession {
  readonly #server: SimulatedServer
  readonly #name: string
  readonly #robot: number
  #waiting: Pending | undefined
  #answered = -1

  constructor(server: SimulatedServer, robot: number) {
    this.#server = server
    this.#robot = robot
    this.#name = `robot ${robot}`
  }

  /** Takes observation `seq`, of the moment `capturedAt`; resolves when what it came to leaves the server. */
  async observe(seq: number, capturedAt: number, deadlineMs: number | undefined): Promise<Outcome> {
    const left = deadlineMs === undefined ? undefined : capturedAt + deadlineMs - this.#server.clock.now()
    if (left !== undefined && left <= 0) return 'expired'
    this.#supersede()
    const pending: Pending = { cancellation: new Cancellation(), skipped: false }
    this.#waiting = pending
    const request = {
      observation: { images: {}, state: { robot: Float64Array.of(this.#robot, seq) } },
      sampling: { steps: this.#server.steps },
    }
    const started = () => {
      if (this.#waiting === pending) this.#waiting = undefined
    }
    const outcome = await this.#server
      .infer(request, this.#name, left, pending.cancellation, started)
      .catch(error => {
        if (error !== CALLER_LEFT) throw error
        return 'superseded' as const
      })
    started()
    if (pending.skipped || (outcome === 'answered' && seq < this.#answered)) return 'superseded'
    if (outcome === 'answered') this.#answered = seq
    return outcome
  }

  #supersede(): void {
    if (!this.#waiting) return
    this.#waiting.skipped = true
    this.#waiting.cancellation.abort(CALLER_LEFT)
    this.#waiting = undefined
  }
}
