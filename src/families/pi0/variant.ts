/** The two networks of the family, by the name that checkpoints give them. */
export type ModelType = 'pi05' | 'pi0'

/** What one network does otherwise than the other. */
export interface Variant {
  /** The state is a token of its own before the actions; otherwise it is written into the prompt, in 256 bins. */
  stateToken: boolean
  /** The time scales, shifts and gates the expert's norms; otherwise it is mixed into the actions by an MLP. */
  adaptiveNorms: boolean
  /** Longest prompt of the released models, in tokens. */
  maxTokenLength: number
  /** How the released models normalise state and actions. */
  normalisation: 'quantile' | 'zscore'
}

const VARIANTS: Readonly<Record<ModelType, Variant>> = {
  pi05: { stateToken: false, adaptiveNorms: true, maxTokenLength: 200, normalisation: 'quantile' },
  pi0: { stateToken: true, adaptiveNorms: false, maxTokenLength: 48, normalisation: 'zscore' },
}

/** The names, as settings and messages list them. */
export const MODEL_TYPES = Object.keys(VARIANTS) as readonly ModelType[]

export const isModelType = (name: unknown): name is ModelType => MODEL_TYPES.includes(name as ModelType)

/** What a model of this type does. */
export const variantOf = ({ modelType }: { modelType: ModelType }): Variant => VARIANTS[modelType]
