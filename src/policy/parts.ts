import type { ModelConfig } from '../families/pi0/config.js'
import type { Embodiment } from './embodiment.js'
import type { GuardSettings } from './guard/settings.js'
import type { ResizeMethod } from './images/resize.js'
import type { NormStats } from './norm-stats.js'
import type { Normalisation, NormalisationConvention } from './normalise.js'
import type { PromptForm } from './prompt.js'
import type { Tokenizer } from './tokenizer/tokenizer.js'

/** Everything that makes a policy, read and checked. */
export interface PolicyParts {
  name: string
  /** With this policy's horizon and token length. */
  model: ModelConfig
  weightsPath: string
  adapterPath?: string | undefined
  embodiment: Embodiment
  promptForm: PromptForm
  /** The state is padded to the network's width before it is written into the prompt (older LeRobot checkpoints). */
  paddedPromptState: boolean
  stats: NormStats
  normalisation: { state: Normalisation; actions: Normalisation; convention: NormalisationConvention }
  tokenizer: Tokenizer
  /** SHA-256 of the tokenizer's file. */
  tokenizerDigest: string
  resize: ResizeMethod
  maxImagePixels: number
  guard: GuardSettings
  defaultPrompt: string | undefined
  defaultSteps: number
  metadata: Readonly<Record<string, unknown>>
}
