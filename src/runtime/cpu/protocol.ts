import type { GraphName, ModelSource } from '../../families/lowered-model.js'
import type { CachedModel } from '../../families/model-cache.js'
import type { ModelConfig } from '../../families/pi0/config.js'
import type { Sampling } from '../../families/pi0/sampling.js'
import type { Stage } from '../../storage/stage.js'
import type { PrefixLayout } from '../prefix-layout.js'
import type { Float } from './floats.js'

/** Finds the lowered model of a checkpoint in the cache, or lowers it into it. */
export interface LowerCall {
  kind: 'lower'
  source: ModelSource
  cache: string
}

export interface LoadCall {
  kind: 'load'
  directory: string
  config: ModelConfig
  graphs: readonly GraphName[]
  /** Type of what the graphs hand each other. */
  float: Float
  threads: number
  /** Leaves the weights of vision and prefix where they are in the page cache; otherwise they are copied and rearranged. */
  mapped: boolean
  /** Images whose embeddings are kept. */
  visionCache: number
}

export interface PerceiveCall {
  kind: 'perceive'
  layout: PrefixLayout
  /** Also gives the image embeddings back. */
  trace: boolean
}

export interface PerceiveReply {
  visionMs: number
  prefixMs: number
  /** Images that went through the vision graph, and images whose embeddings were kept. */
  encoded: number
  reused: number
  imageEmbeddings?: Float32Array
}

export interface ActCall {
  kind: 'act'
  batch: number
  positions: number
  lengths: BigInt64Array
  /** One a row, of the same steps. */
  sampling: readonly Sampling[]
  /** pi0: [batch, actionDim]. */
  state?: Float32Array
  /** Also gives x and the velocity of every step back. */
  trace: boolean
}

export interface ActReply {
  actions: Float32Array
  stepMs: number[]
  x: Float32Array[]
  velocity: Float32Array[]
}

/** Ends the thread, after the calls before it. */
export interface CloseCall {
  kind: 'close'
}

export interface Replies {
  close: undefined
  lower: CachedModel
  load: undefined
  perceive: PerceiveReply
  act: ActReply
}

export type Call = CloseCall | LowerCall | LoadCall | PerceiveCall | ActCall

/**
 * Main thread → worker. `cancel[0]` becomes 1 when the caller has gone. `slot` holds the K and V of all layers: layer l's
 * keys are part 2l of 2·depth equal parts, its values part 2l + 1. It travels with the call and comes back with the
 * answer, moved, not copied (ONNX Runtime's binding does not take shared memory).
 */
export interface Request {
  id: number
  call: Call
  cancel: Int32Array
  slot?: ArrayBuffer
}

/** Worker → main thread. `code` is that of a TurboPiError. */
export type Response =
  | { id: number; stage: Stage }
  | { id: number; notice: string }
  | { id: number; slot?: ArrayBuffer; result: Replies[keyof Replies] }
  | { id: number; slot?: ArrayBuffer; error: { code: string; message: string } }
