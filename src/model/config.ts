/** SigLIP vision tower (pi05-spec §1). */
export interface VisionConfig {
  width: number
  depth: number
  heads: number
  mlpDim: number
  /** Patch side in pixels; a camera gives (imageSize / patch)² tokens. */
  patch: number
  imageSize: number
  layerNormEps: number
}

/** One Gemma transformer; prefix and expert share depth, heads, kvHeads and headDim (pi05-spec §1). */
export interface GemmaConfig {
  width: number
  depth: number
  mlpDim: number
  heads: number
  kvHeads: number
  headDim: number
}

/** Everything the graphs are derived from; nothing is fixed to one size. */
export interface ModelConfig {
  modelType: 'pi05' | 'pi0'
  /** Width of an action row inside the network (32 in all released checkpoints). */
  actionDim: number
  /** Rows of an action chunk. */
  actionHorizon: number
  /** Longest prompt in tokens; longer ones are truncated at the tail. */
  maxTokenLength: number
  vocabSize: number
  /** Fixed order of camera slots. */
  cameraSlots: readonly string[]
  vision: VisionConfig
  prefix: GemmaConfig
  expert: GemmaConfig
  ropeTheta: number
  rmsNormEps: number
  timeMinPeriod: number
  timeMaxPeriod: number
}

export type Precision = 'fp32' | 'bf16' | 'fp16' | 'int8'
