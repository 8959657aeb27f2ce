import { fileURLToPath } from 'node:url'
import type { FastifyInstance } from 'fastify'
import { loadConfig } from '../../src/config.js'
import { loadPolicy } from '../../src/policy/loading/load.js'
import { createRuntime } from '../../src/runtime/backends.js'
import { createServer, type ServerConfig, type ServerOptions } from '../../src/server/standalone.js'
import { Served } from '../../src/service/served.js'
import { PolicyService } from '../../src/service/service.js'

/** Absolute path of something in the repository. */
export const repositoryPath = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))

/** A server of a real policy on the CPU, ready; the caller closes it. */
export async function servePolicy(
  directory = repositoryPath('policies/tiny-libero'),
  config: Partial<ServerConfig> = {},
  options: ServerOptions = {},
): Promise<{ app: FastifyInstance; service: PolicyService; close(): Promise<void> }> {
  const policy = await loadPolicy(directory)
  const runtime = createRuntime(policy, {
    runtime: 'cpu',
    precision: 'fp32',
    threads: 0,
    pipeline: 'off',
    maxBatch: 8,
  })
  const service = new PolicyService({ policy, runtime })
  const settings = { ...loadConfig([], {}), bodyLimit: 8 * 2 ** 20, ...config }
  const app = await createServer([new Served(service)], settings, options)
  await service.start()
  return {
    app,
    service,
    async close() {
      await service.close()
      await app.close()
    },
  }
}
