import type { ActionChunk } from '../chunk.js'
import type { ClientObservation, ObserveOptions, RtcRequest } from '../observation.js'
import { DelayEstimate } from './delay.js'
import { actionAt, blended, endOf, type Plan } from './plan.js'

/**
 * What becomes of the chunk that is being executed when a new one arrives. `sync`: it is played to the end, then the robot
 * waits for the next. `aligned`: the new one takes its place, from the row that is due. `blend`: the same, led over in a few
 * ticks. `rtc`: the same, and the server continues the old one (docs/guides/rtc.md), so that both agree where they meet.
 */
export const STRATEGIES = ['sync', 'aligned', 'blend', 'rtc'] as const
export type Strategy = (typeof STRATEGIES)[number]

/** What the executor needs of a client. */
export interface ChunkSource {
  infer(observation: ClientObservation, options: ObserveOptions): Promise<ActionChunk>
  /** Of the connection: a chunk of another one cannot be continued. */
  readonly session?: string | undefined
  readonly generation?: number
}

export interface ExecutorOptions {
  strategy: Strategy
  /** Actions a second. */
  hertz: number
  /** Actions after which the next chunk is asked for; default: half of the chunk. */
  executionHorizon?: number
  /** Ticks without an action that repeat the last one before the robot is starved; default 0. */
  graceTicks?: number
  /** What a starved robot gets: its last action again (positions), zeros (velocities), or what the function makes of the last. */
  starvation: 'hold' | 'zero' | ((last: readonly number[]) => readonly number[])
  /** Ticks in which `blend` leads over; default 4. */
  blendTicks?: number
  /** Dimensions that `blend` may lead over; all, when absent. */
  continuous?: readonly boolean[]
  /** Of every call. */
  observe?: ObserveOptions | (() => ObserveOptions)
  /** Of `rtc`: what the server is asked beside the previous chunk and the delay. */
  rtc?: Pick<RtcRequest, 'mode' | 'executionHorizon' | 'schedule' | 'maxGuidanceWeight'>
  /** Of `rtc` in mode trained: the most rows that the checkpoint was trained to be given (`trainedDelay` of GET /metadata). */
  trainedDelay?: number
  /** Milliseconds; default performance.now. */
  now?: () => number
}

/** The action of one tick. */
export interface Tick {
  /** Undefined before the first chunk. */
  readonly action: readonly number[] | undefined
  /** `seam`: the first action of another chunk. */
  readonly from: 'chunk' | 'seam' | 'grace' | 'starved' | 'nothing'
  /** Of `chunk` and `seam`: the chunk that the action is from, and its row there. */
  readonly chunk?: ActionChunk
  readonly row?: number
}

export interface ExecutorEvents {
  /** A tick has no action, and the grace is over; told once until a chunk comes. */
  starved: { tick: number }
  /** A chunk is executed from here on; `delayTicks` rows of it have passed. */
  merged: { tick: number; delayTicks: number; chunk: ActionChunk }
  /** A chunk came when all its rows had passed; or, of mode trained, when more had than it was given of the chunk before. */
  stale: { tick: number; chunk: ActionChunk }
  /** A call has failed; the next tick asks again. */
  failed: { error: Error }
}

type Listeners = { [K in keyof ExecutorEvents]: Set<(event: ExecutorEvents[K]) => void> }

/** Ticks: a delay of whole ticks is not to be one more by the rounding of its milliseconds. */
const ROUNDING = 1e-9

/**
 * Plays action chunks at the control rate, one action a tick. It never waits: the next chunk is asked for before this one
 * ends, by the delay that was measured, and merged by the number of actions that were carried out since its observation,
 * whatever the clocks say: a tick without an action does not count.
 */
export class ChunkExecutor {
  readonly #source: ChunkSource
  readonly #options: ExecutorOptions
  readonly #delay = new DelayEstimate()
  readonly #listeners: Listeners = {
    starved: new Set(),
    merged: new Set(),
    stale: new Set(),
    failed: new Set(),
  }
  readonly #now: () => number
  /** Counts the actions of chunks that were carried out. */
  #tick = 0
  #plan: Plan | undefined
  #last: readonly number[] | undefined
  #played: ActionChunk | undefined
  #missed = 0
  #asking = false
  /** Set by a failure: what was asked to be continued may be what failed. */
  #afresh = false
  #episode = 0

  constructor(source: ChunkSource, options: ExecutorOptions) {
    if (!(options.hertz > 0)) throw new RangeError(`hertz is more than 0, got ${options.hertz}.`)
    this.#source = source
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
  }

  /** The delay that is reckoned with, in ticks. */
  get delayTicks(): number {
    return Math.ceil((this.#delay.ms * this.#options.hertz) / 1000 - ROUNDING)
  }

  /** Returns how to stop listening. Listeners must not throw. */
  on<K extends keyof ExecutorEvents>(event: K, listener: (event: ExecutorEvents[K]) => void): () => void {
    this.#listeners[event].add(listener)
    return () => this.#listeners[event].delete(listener)
  }

  /** The action of this tick. `observe` is called when a new chunk is due. */
  tick(observe: () => ClientObservation): Tick {
    const tick = this.#tick
    if (this.#isDue(tick)) void this.#ask(observe(), tick)
    const plan = this.#plan
    const action = plan && !this.#isPlayed(plan, tick) ? actionAt(plan, tick) : undefined
    if (!plan || !action) return this.#missing(tick)
    this.#tick += 1
    this.#missed = 0
    const from = this.#played !== plan.chunk && this.#played ? 'seam' : 'chunk'
    this.#played = plan.chunk
    this.#last = action
    return { action, from, chunk: plan.chunk, row: tick - plan.start }
  }

  /** Forgets the chunk, for a new episode; an answer on its way is thrown away. Reset the client as well. */
  reset(): void {
    this.#episode += 1
    this.#plan = undefined
    this.#last = undefined
    this.#played = undefined
    this.#missed = 0
    this.#asking = false
    this.#afresh = false
  }

  #horizonOf(plan: Plan): number {
    return this.#options.executionHorizon ?? Math.max(1, Math.floor(plan.actions.length / 2))
  }

  /** `sync` plays no more than the execution horizon of a chunk: what follows was not planned for this moment. */
  #isPlayed(plan: Plan, tick: number): boolean {
    return this.#options.strategy === 'sync' && tick - plan.start >= this.#horizonOf(plan)
  }

  #isDue(tick: number): boolean {
    if (this.#asking) return false
    const plan = this.#plan
    if (!plan) return true
    if (this.#options.strategy === 'sync') return this.#isPlayed(plan, tick) || !actionAt(plan, tick)
    return tick - plan.start >= this.#horizonOf(plan) || endOf(plan) - tick <= this.delayTicks + 1
  }

  async #ask(observation: ClientObservation, tick: number): Promise<void> {
    const episode = this.#episode
    const { observe = {} } = this.#options
    this.#asking = true
    const asked = this.#now()
    try {
      const rtc = this.#continuation(tick)
      const options = typeof observe === 'function' ? observe() : observe
      const chunk = await this.#source.infer(observation, { ...options, ...(rtc && { rtc }) })
      if (episode !== this.#episode) return
      this.#afresh = false
      this.#delay.add(this.#now() - asked)
      this.#merge(chunk, tick, rtc)
    } catch (error) {
      if (episode !== this.#episode) return
      this.#afresh = true
      this.#emit('failed', { error: error as Error })
    } finally {
      if (episode === this.#episode) this.#asking = false
    }
  }

  /** What of the chunk being executed the server is to continue. */
  #continuation(tick: number): RtcRequest | undefined {
    const plan = this.#plan
    if (this.#options.strategy !== 'rtc' || !plan || this.#afresh) return undefined
    const { session, generation, chunkId } = plan.chunk
    const consumed = tick - plan.start
    const here =
      (this.#source.session ?? session) === session && (this.#source.generation ?? generation) === generation
    if (!here || consumed >= plan.actions.length) return undefined
    const { rtc, trainedDelay = Infinity } = this.#options
    const given = rtc?.mode === 'trained' ? trainedDelay : Infinity
    const inferenceDelay = Math.min(this.delayTicks, plan.actions.length - consumed, given)
    return { ...rtc, previousChunkId: chunkId, consumed, inferenceDelay }
  }

  #merge(chunk: ActionChunk, observedAt: number, rtc: RtcRequest | undefined): void {
    const { strategy, blendTicks = 4, continuous } = this.#options
    const tick = this.#tick
    const old = this.#plan
    const next: Plan = { start: observedAt, actions: chunk.actions, chunk }
    // Rows past those that a trained network was given do not continue the chunk before.
    const late = rtc?.mode === 'trained' && tick - observedAt > rtc.inferenceDelay
    if (tick >= endOf(next) || (late && old && actionAt(old, tick)))
      return this.#emit('stale', { tick, chunk })
    this.#plan = strategy === 'blend' && old ? blended(old, next, tick, blendTicks, continuous) : next
    this.#emit('merged', { tick, delayTicks: tick - observedAt, chunk })
  }

  #missing(tick: number): Tick {
    const last = this.#last
    if (!last) return { action: undefined, from: 'nothing' }
    const { graceTicks = 0, starvation } = this.#options
    this.#missed += 1
    if (this.#missed <= graceTicks) return { action: last, from: 'grace' }
    if (this.#missed === graceTicks + 1) this.#emit('starved', { tick })
    if (starvation === 'hold') return { action: last, from: 'starved' }
    const action = starvation === 'zero' ? last.map(() => 0) : starvation(last)
    return { action, from: 'starved' }
  }

  #emit<K extends keyof ExecutorEvents>(name: K, event: ExecutorEvents[K]): void {
    for (const listener of [...this.#listeners[name]]) listener(event)
  }
}
