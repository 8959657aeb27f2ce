import type { AddressInfo } from 'node:net'
import type { Config } from '../../config.js'
import { TurboPiError } from '../../errors.js'
import type { Policy } from '../../policy/policy.js'
import { createRuntime } from '../../runtime/backends.js'
import { randomSeed } from '../../runtime/noise.js'
import { createServer } from '../../server/standalone.js'
import { Served } from '../../service/served.js'
import { PolicyService } from '../../service/service.js'
import { ENGINE_SETTINGS } from '../../settings/engine.js'
import { CONFIG_FILE } from '../../settings/general.js'
import { GUARD_SETTINGS, POLICY_SETTINGS } from '../../settings/policy.js'
import { configuredPolicy } from '../kit/configured-policy.js'
import { stageDisplay } from '../kit/stage-display.js'

const { randomWeights: _, ...POLICIES } = POLICY_SETTINGS
const { numSteps: __, ...ENGINE } = ENGINE_SETTINGS

/** Of commands that let a policy act: random weights cannot, and the steps are an option of their own. */
export const PLAYED_SETTINGS = { ...POLICIES, ...ENGINE, ...GUARD_SETTINGS, ...CONFIG_FILE }

export interface EvaluationServer {
  url: string
  /** Policy, runtime and precision. */
  description: string
  /** Digest of the policy. */
  model: string
  /** The seed of the next inference, for a protocol that cannot carry one. */
  useSeed(seed: number): void
  close(): Promise<void>
}

/** Serves the configured policy on a free port of this machine, with `steps` denoise steps unless asked otherwise. */
export async function serveForEvaluation(
  config: Config,
  steps: number,
  signal?: AbortSignal,
): Promise<EvaluationServer> {
  const policy = await configuredPolicy({ ...config, numSteps: steps })
  requireTabletop(policy)
  return servePolicy(policy, config, signal)
}

/** Serves a policy that is loaded; `config` has the rest of the settings. */
export async function servePolicy(
  policy: Policy,
  config: Config,
  signal?: AbortSignal,
): Promise<EvaluationServer> {
  const display = stageDisplay()
  let next: number | undefined
  const service = new PolicyService({
    policy,
    runtime: createRuntime(policy, { ...config, onStage: display.show, ...(signal && { signal }) }),
    drawSeed: () => next ?? randomSeed(),
    queue: { maxWaiting: config.queueLimit, maxReplaceable: config.maxRobots, drainMs: config.drainTimeout },
  })
  const app = await createServer([new Served(service, config)], config)
  const close = async () => {
    await service.close()
    await app.close()
  }
  try {
    await service.start().finally(display.stop)
    await app.listen({ host: '127.0.0.1', port: 0 })
  } catch (error) {
    await close()
    throw error
  }
  const { model, runtime } = service.metadata()
  const { backend, precision } = runtime!
  return {
    url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`,
    description: `${policy.name}, ${backend} ${precision}`,
    model: model!,
    useSeed: seed => {
      next = seed
    },
    close,
  }
}

/** Throws CONFIG_INVALID for a policy that the tabletop has no observations for. */
function requireTabletop({ name, spec }: Policy): void {
  const strange = [...spec.cameras.filter(({ required }) => required), ...spec.state].find(
    ({ key }) => !TABLETOP_KEYS.has(key),
  )
  if (!strange) return
  throw new TurboPiError(
    'CONFIG_INVALID',
    `${name} needs ${strange.key}, which the simulated tabletop has not: it gives ${[...TABLETOP_KEYS].join(', ')}. Only policies for these can act on it.`,
  )
}

/** What an observation of the tabletop carries besides the prompt. */
const TABLETOP_KEYS = new Set(['observation/image', 'observation/wrist_image', 'observation/state'])
