import type { AddressInfo } from 'node:net'
import type { Config } from '../../config.js'
import { createRuntime } from '../../runtime/backends.js'
import { randomSeed } from '../../runtime/noise.js'
import { createServer } from '../../server/standalone.js'
import { Served } from '../../service/served.js'
import { PolicyService } from '../../service/service.js'
import { configuredPolicy } from '../kit/configured-policy.js'

export interface EvaluationServer {
  url: string
  /** Policy, runtime and precision. */
  description: string
  /** The seed of the next inference, for a protocol that cannot carry one. */
  useSeed(seed: number): void
  close(): Promise<void>
}

/** Serves the configured policy on a free port of this machine, with `steps` denoise steps unless asked otherwise. */
export async function serveForEvaluation(config: Config, steps: number): Promise<EvaluationServer> {
  const policy = await configuredPolicy({ ...config, numSteps: steps })
  let next: number | undefined
  const service = new PolicyService({
    policy,
    runtime: createRuntime(policy, config),
    drawSeed: () => next ?? randomSeed(),
    queue: { maxWaiting: config.queueLimit, drainMs: config.drainTimeout },
  })
  const app = await createServer([new Served(service, config)], config)
  const close = async () => {
    await service.close()
    await app.close()
  }
  try {
    await service.start()
    await app.listen({ host: '127.0.0.1', port: 0 })
  } catch (error) {
    await close()
    throw error
  }
  const { backend, precision } = service.metadata().runtime!
  return {
    url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`,
    description: `${policy.name}, ${backend} ${precision}`,
    useSeed: seed => {
      next = seed
    },
    close,
  }
}
