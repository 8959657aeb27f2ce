import type { Config } from '../../config.js'
import type { OnStage } from '../../runtime/backend.js'
import { createRuntime } from '../../runtime/backends.js'
import { requireMemoryBeside } from '../../runtime/memory.js'
import type { Served } from '../../service/served.js'
import type { ServiceParts } from '../../service/service.js'
import { StartProgress } from '../../service/start-progress.js'
import { configuredPolicy } from './configured-policy.js'

export interface ServiceHooks {
  onNotice: (text: string) => void
  /** For the log: what went wrong without anybody's request failing. */
  warn: (message: string, error: unknown) => void
  /** Hears what the start of a service is at. */
  onStage: OnStage
  /** Calls the start off. */
  signal: AbortSignal
}

/** The parts of a service of the policy in a directory, by default the one that the settings name; loads in the background. */
export async function configuredService(
  config: Config,
  { onNotice, onStage, signal, warn }: ServiceHooks,
  directory?: string,
): Promise<ServiceParts> {
  const policy = await configuredPolicy(config, directory, onNotice)
  const progress = new StartProgress()
  progress.listen(onStage)
  return {
    policy,
    runtime: createRuntime(policy, {
      ...config,
      onNotice,
      signal,
      onStage: progress.report,
    }),
    queue: {
      maxWaiting: config.queueLimit,
      maxReplaceable: config.maxRobots,
      drainMs: config.drainTimeout,
      watch: { atLeastMs: config.engineTimeout },
    },
    progress,
    warn,
  }
}

/** Puts the policy in a directory into the place of the one being served. Throws SWAP_REFUSED and what loading throws. */
export async function swapFor(
  config: Config,
  hooks: ServiceHooks,
  served: Served,
  directory: string,
  options: { anyShape: boolean },
): Promise<void> {
  const { runtime } = served.current.service.metadata()
  const policy = await configuredPolicy(config, directory)
  try {
    if (runtime?.backend === 'cpu') requireMemoryBeside(policy.model, runtime.precision)
  } finally {
    await policy.close()
  }
  await served.swap(await configuredService(config, hooks, directory), options)
}
