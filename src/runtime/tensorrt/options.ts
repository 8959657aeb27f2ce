import type { NetworkCase } from '../agreement/run-case.js'
import type { BackendOptions } from '../backend.js'
import type { loadAddon } from '../gpu/addon.js'
import type { Builder } from './build.js'

export interface TensorRtOptions extends BackendOptions {
  /** Batches for the numeric gate; seeded ones by default. */
  cases?: readonly NetworkCase[]
  /** For tests: the addon, and what builds an engine. */
  addon?: ReturnType<typeof loadAddon>
  builder?: Builder
}
