import type { ServedChunk } from '../../contract/rtc.js'
import type { SamplingOptions } from '../../contract/sampling.js'
import { TurboPiError } from '../../errors.js'

/** Chunks of one connection that are kept to be continued. */
const KEPT = 4

/** The last chunks that a connection was sent, so that a robot names what it executes instead of sending it back. */
export class RecentChunks {
  readonly #chunks = new Map<number, ServedChunk>()

  keep(id: number, chunk: ServedChunk): void {
    this.#chunks.set(id, chunk)
    const [oldest] = this.#chunks.keys()
    if (this.#chunks.size > KEPT) this.#chunks.delete(oldest!)
  }

  clear(): void {
    this.#chunks.clear()
  }

  /** The options with the chunk that they name. Throws OPTIONS_INVALID when it is not there any longer. */
  found(sampling: SamplingOptions): SamplingOptions {
    const { rtc } = sampling
    if (!rtc || !('chunkId' in rtc.previous)) return sampling
    const { chunkId, consumed } = rtc.previous
    const served = this.#chunks.get(chunkId)
    if (served) return { ...sampling, rtc: { ...rtc, previous: { served, consumed } } }
    const pointer = '/options/rtc/previous_chunk_id'
    const detail = `must be one of the last ${KEPT} chunks of this connection since its reset, ${[...this.#chunks.keys()].join(', ') || 'none so far'}; got ${chunkId}`
    throw new TurboPiError('OPTIONS_INVALID', `${pointer} ${detail}`, { fields: [{ pointer, detail }] })
  }
}
