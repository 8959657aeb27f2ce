import type { TurboPiError } from '../errors.js'

/** The time of one call of a lane, in performance.now() milliseconds. */
export interface LaneSpan {
  lane: 'perceive' | 'act'
  /** Batches are numbered from 0 in the order in which they start; of several in one act call, the first. */
  batch: number
  /** Rows of the call. */
  rows: number
  start: number
  end: number
  /** The card, as CUDA counts them; absent on CPUs. */
  device?: number
}

/** One of several engines has stopped working, or works again. */
export interface EngineChange {
  device: number | undefined
  /** Engines that work now, of all. */
  working: number
  of: number
  /** Why it stopped; undefined when it works again. */
  error: TurboPiError | undefined
}

/** Why a job left without an answer. */
export type DropReason = 'overloaded' | 'expired' | 'cancelled' | 'failed'

/** What the dispatcher and the pipeline tell of their work; each hook is called synchronously and must not throw. */
export interface RuntimeObserver {
  /** Jobs waiting, after every change. */
  depth?(waiting: number): void
  /** A batch starts; one wait a row. */
  batch?(waitMs: readonly number[]): void
  dropped?(reason: DropReason): void
  /** A batch was perceived: images that were encoded, and images whose embeddings were kept from before. */
  images?(encoded: number, reused: number): void
  /** A batch was perceived: rows whose prefix was computed, and rows whose prefix was kept from before. */
  prefixes?(computed: number, reused: number): void
  /** A call has not returned in time. */
  hung?(error: TurboPiError): void
  /** After calls that hung the engine works again. */
  recovered?(): void
  engine?(change: EngineChange): void
  /** There was no memory for a call of so many rows: from now on there are `most` in one. */
  shrunk?(device: number | undefined, rows: number, most: number): void
  /** A call of a lane has ended. */
  lane?(span: LaneSpan): void
}
