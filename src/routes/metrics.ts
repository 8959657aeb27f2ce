import type { FastifyInstance } from 'fastify'
import { AggregatorRegistry, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import { Type } from 'typebox'
import type { Served } from '../service/served.js'
import { VERSION } from '../version.js'

/** GET /metrics: counters, queue and stage times of all policies, those of `others` and the process's, in Prometheus' text format. */
export function metricsRoute(
  app: FastifyInstance,
  policies: readonly Served[],
  others: readonly { registry: Registry }[],
): void {
  const processMetrics = new Registry()
  collectDefaultMetrics({ register: processMetrics })
  // Gauges that are named as counters are, which Prometheus' own check refuses.
  for (const kind of ['handles', 'requests', 'resources'])
    processMetrics.removeSingleMetric(`nodejs_active_${kind}_total`)
  new Gauge({
    name: 'turbo_pi_build_info',
    help: 'The version of the server and of Node.js; always 1.',
    labelNames: ['version', 'node'],
    registers: [processMetrics],
  }).set({ version: VERSION, node: process.version }, 1)
  new Gauge({
    name: 'turbo_pi_ready',
    help: 'Whether the policy can answer: 1, or 0 while it starts, stops or hangs.',
    labelNames: ['policy'],
    registers: [processMetrics],
    collect() {
      for (const { name, current } of policies) this.set({ policy: name }, current.service.ready ? 1 : 0)
    },
  })
  // Policies of one server share their list of held robots.
  const held = new Set(policies.map(({ current }) => current.service.held))
  const numbered = [...others, ...held, ...policies.map(({ metrics }) => metrics)]
  const registries = [processMetrics, ...numbered.map(({ registry }) => registry)]
  app.get(
    '/metrics',
    {
      schema: {
        operationId: 'metrics',
        summary: 'Counters, queue and stage times, for Prometheus',
        description: 'Those that begin with turbo_pi_ are stable; others come with Node.js.',
        tags: ['health'],
        response: {
          200: {
            description: 'Prometheus’ text format.',
            content: { 'text/plain': { schema: Type.String() } },
          },
        },
      },
    },
    async (_request, reply) => {
      const numbers = await Promise.all(registries.map(registry => registry.getMetricsAsJSON()))
      return reply
        .type(processMetrics.contentType)
        .send(await AggregatorRegistry.aggregate(numbers).metrics())
    },
  )
}
