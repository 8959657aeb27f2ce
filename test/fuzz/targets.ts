import { fileTargets } from './files.js'
import { messageTargets } from './messages.js'
import type { Target } from './target.js'

export const targets: readonly Target[] = [...messageTargets, ...fileTargets]
