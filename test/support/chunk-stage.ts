import { setImmediate as turn } from 'node:timers/promises'
import {
  type ActionChunk,
  ChunkExecutor,
  type ChunkSource,
  type ClientObservation,
  type ExecutorOptions,
  type ObserveOptions,
  type Tick,
} from '../../src/client/index.js'

interface Asked {
  observation: ClientObservation
  options: ObserveOptions
  /** Answers with a chunk whose actions are `base`, `base + 1`, … */
  answer(base: number, chunk?: { rows?: number; chunk_id?: number }): Promise<void>
  fail(message: string): Promise<void>
}

/** An executor whose source and clock are the test's; a tick takes 100 ms. */
export class ChunkStage implements ChunkSource {
  static readonly defaults = { strategy: 'aligned', hertz: 10, starvation: 'hold' } as const
  readonly executor: ChunkExecutor
  readonly asked: Asked[] = []
  session = 's'
  generation = 0
  now = 0
  #ticks = 0

  constructor(options: Partial<ExecutorOptions> = {}) {
    this.executor = new ChunkExecutor(this, { ...ChunkStage.defaults, now: () => this.now, ...options })
  }

  infer(observation: ClientObservation, options: ObserveOptions): Promise<ActionChunk> {
    return new Promise((resolve, reject) => {
      this.asked.push({
        observation,
        options,
        async answer(base, { rows = 6, chunk_id: chunkId = 0 } = {}) {
          const actions = Array.from({ length: rows }, (_, row) => [base + row])
          resolve({ actions, chunkId, session: 's', generation: 0 } as ActionChunk)
          await turn()
        },
        async fail(message) {
          reject(new Error(message))
          await turn()
        },
      })
    })
  }

  tick(): Tick {
    const tick = this.#ticks
    const result = this.executor.tick(() => ({ tick }))
    this.#ticks += 1
    this.now += 100
    return result
  }
}
