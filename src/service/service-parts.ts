import type { Policy } from '../policy/policy.js'
import type { Runtime } from '../runtime/runtime.js'
import type { DispatcherOptions } from '../runtime/scheduling/dispatcher.js'
import type { HeldRobots } from './held-robots.js'
import type { Metrics } from './metrics.js'
import type { StartProgress } from './start-progress.js'

/** What a service is made of. */
export interface ServiceParts {
  policy: Policy
  /** Loads in the background: liveness and metadata are answered meanwhile. */
  runtime: Promise<Runtime>
  /** Draws the seed of the noise for callers that give none; default: at random. */
  drawSeed?: () => number
  queue?: Omit<DispatcherOptions, 'observer'>
  /** Takes what is to be in the log; default: a warning of the process. */
  warn?: (message: string, error: unknown) => void
  /** Where to count; a service that takes another's place goes on with its counters. Default: counters of its own. */
  metrics?: Metrics
  /** Told by the runtime while it loads; goes to /readyz. */
  progress?: StartProgress
  /** The robots that guards have stopped; services of one server share it. Default: a list of its own. */
  held?: HeldRobots
}
