import type { Clock } from '../clock.js'
import { releasedConfig } from '../families/pi0/config.js'
import type { Sampling } from '../families/pi0/sampling.js'
import type { ActResult, PerceiveRow, Prefix, RunOptions, Runtime, RuntimeInfo } from '../runtime/runtime.js'
import type { Random } from '../tabletop/random.js'
import { type Profile, stageMs } from './profile.js'

/** A runtime that computes nothing: its calls take what was measured, each at a random share of the distribution. */
export class SimulatedEngine implements Runtime {
  readonly info: RuntimeInfo
  readonly #profile: Profile
  readonly #clock: Clock
  readonly #random: Random

  constructor(profile: Profile, clock: Clock, random: Random) {
    const { backend, device, lanes, batches, prefixSlots = 2, joins = false } = profile
    this.info = {
      backend,
      device,
      precision: 'fp32',
      maxBatch: batches.at(-1)!.rows,
      lanes,
      prefixSlots,
      joins,
      weights: 'simulated',
      config: releasedConfig('pi05'),
    }
    this.#profile = profile
    this.#clock = clock
    this.#random = random
  }

  async perceive(rows: readonly PerceiveRow[], { signal }: RunOptions = {}): Promise<Prefix> {
    // One draw for the call: what slows down a call slows down all of it.
    const share = this.#random.uniform()
    const visionMs = stageMs(this.#profile, 'vision', rows.length, share)
    const prefixMs = stageMs(this.#profile, 'prefix', rows.length, share)
    await this.#busy(visionMs + prefixMs, signal)
    return { batch: rows.length, lengths: [], timing: { visionMs, prefixMs }, release: () => {} }
  }

  async act(
    _prefixes: readonly Prefix[],
    { length: rows }: readonly Sampling[],
    { signal }: RunOptions = {},
  ): Promise<ActResult> {
    const ms = stageMs(this.#profile, 'denoise', rows, this.#random.uniform())
    await this.#busy(ms, signal)
    return { actions: new Float32Array(rows), stepMs: [ms] }
  }

  trace(): Promise<never> {
    throw new Error('A simulated engine has no tensors.')
  }

  async close(): Promise<void> {}

  #busy(ms: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const callOff = this.#clock.after(ms, () => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      })
      const onAbort = () => {
        callOff()
        reject(signal?.reason)
      }
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }
}
