import type { FastifyInstance } from 'fastify'
import { Registry } from 'prom-client'
import { loadConfig } from '../../src/config.js'
import { EMBODIMENTS, observationSpec } from '../../src/policy/embodiment.js'
import { jointNames, stateNames } from '../../src/policy/guard/joint-limits.js'
import type { Recordings } from '../../src/routes/recordings.js'
import { createServer, type ServerConfig } from '../../src/server/standalone.js'
import { HeldRobots } from '../../src/service/held-robots.js'
import { Metrics } from '../../src/service/metrics.js'
import { Served } from '../../src/service/served.js'
import type { PolicyService, ServiceMetadata } from '../../src/service/service.js'

export type EmbodimentName = keyof typeof EMBODIMENTS

/** What a policy of this embodiment says of itself before its engine has been loaded. */
export function describedPolicy(name: EmbodimentName, actionSize = 7): ServiceMetadata {
  return {
    policy: name,
    observation: observationSpec(EMBODIMENTS[name], undefined),
    shape: { horizon: 10, actionDim: 32, actionSize },
    defaultSteps: 10,
    joints: jointNames(EMBODIMENTS[name]),
    stateNames: stateNames(EMBODIMENTS[name]),
    trainedDelay: 0,
    model: null,
    runtime: null,
    openpi: {},
  }
}

/** A server for its documents: with keys and swaps, so that it has every route, and policies that answer nothing. */
export async function describedServer(
  names: readonly [EmbodimentName, ...EmbodimentName[]],
  config: Partial<ServerConfig> = {},
): Promise<FastifyInstance> {
  const served = names.map(name => {
    const metadata = describedPolicy(name)
    const service = { metadata: () => metadata, metrics: new Metrics(), held: new HeldRobots() }
    return new Served(service as PolicyService, { name })
  }) as [Served, ...Served[]]
  const settings = { ...loadConfig([], {}), apiKey: 'a-key', ...config }
  // Routes are described, and called by nobody.
  const recordings = { registry: new Registry() } as Recordings
  const recorders = new Map(served.map(one => [one, recordings]))
  const app = await createServer(served, settings, { swap: async () => {}, recorders })
  await app.ready()
  return app
}
