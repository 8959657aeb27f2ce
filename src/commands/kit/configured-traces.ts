import { hostname } from 'node:os'
import type { Config } from '../../config.js'
import type { Served } from '../../service/served.js'
import { type SpanSink, trace } from '../../tracing/tracer.js'
import { VERSION } from '../../version.js'

/** Traces of all policies where the settings name a collector; OpenTelemetry's packages are loaded only then. */
export async function configuredTraces(
  { otlpEndpoint, traceRatio, port }: Config,
  policies: readonly Served[],
  warn: (message: string) => void,
): Promise<SpanSink | undefined> {
  if (otlpEndpoint === undefined) return undefined
  const { otlpSink } = await import('../../tracing/otlp.js')
  const sink = otlpSink({ endpoint: otlpEndpoint, version: VERSION, instance: `${hostname()}:${port}`, warn })
  for (const served of policies) trace(served, sink, traceRatio)
  return sink
}
