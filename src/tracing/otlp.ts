import {
  BatchSpanProcessor,
  type HrTime,
  OTLPTraceExporter,
  type ReadableSpan,
  resourceFromAttributes,
  type SpanExporter,
  SpanKind,
  SpanStatusCode,
} from './opentelemetry.js'
import type { StageSpan } from './spans.js'
import type { TraceContext } from './traceparent.js'
import type { SpanSink } from './tracer.js'

/** Spans that wait to be sent; more are dropped. */
const MOST_WAITING = 4096
const EXPORT_TIMEOUT_MS = 5000
/** Milliseconds between lines of the log that tell of an exporter that fails. */
const QUIET_MS = 60_000

export interface OtlpOptions {
  /** Base address of the collector: spans go to its /v1/traces. */
  endpoint: string
  version: string
  /** Names this server among others. */
  instance: string
  warn(message: string): void
  /** Milliseconds between exports. */
  everyMs?: number
}

/** Sends spans to a collector as OTLP over HTTP, in protobuf. Of all modules this alone loads OpenTelemetry's. */
export function otlpSink({ endpoint, version, instance, warn, everyMs = 1000 }: OtlpOptions): SpanSink {
  const resource = resourceFromAttributes({
    'service.name': process.env['OTEL_SERVICE_NAME'] ?? 'turbo-pi',
    'service.version': version,
    'service.instance.id': instance,
  })
  const url = `${endpoint.replace(/\/$/, '')}/v1/traces`
  const exporter = new OTLPTraceExporter({ url, timeoutMillis: EXPORT_TIMEOUT_MS })
  const processor = new BatchSpanProcessor(complaining(exporter, url, warn), {
    maxQueueSize: MOST_WAITING,
    maxExportBatchSize: 512,
    scheduledDelayMillis: everyMs,
    exportTimeoutMillis: EXPORT_TIMEOUT_MS,
  })
  const scope = { name: 'turbo-pi', version }
  return {
    add: span => processor.onEnd(readable(span, resource, scope)),
    close: async ms => {
      const limit = new Promise<void>(resolve => setTimeout(resolve, ms).unref())
      await Promise.race([processor.shutdown().catch(() => {}), limit])
    },
  }
}

/** An exporter whose failures are a line of the log now and then, and nobody else's. */
function complaining(exporter: SpanExporter, url: string, warn: (message: string) => void): SpanExporter {
  let lost = 0
  let toldAt = Number.NEGATIVE_INFINITY
  return {
    export: (spans, done) =>
      exporter.export(spans, result => {
        if (result.error || result.code !== 0) {
          lost += spans.length
          const now = performance.now()
          if (now - toldAt >= QUIET_MS) {
            toldAt = now
            warn(
              `Traces cannot be sent to ${url} (${result.error?.message ?? 'refused'}); ${lost} spans lost so far.`,
            )
          }
        }
        done({ code: 0 })
      }),
    shutdown: () => exporter.shutdown(),
    ...(exporter.forceFlush && { forceFlush: () => exporter.forceFlush!() }),
  }
}

const EPOCH = performance.timeOrigin

/** Seconds and nanoseconds of Unix time. */
const hrTime = (ms: number): HrTime => hrParts(EPOCH + ms)

function hrParts(ms: number): HrTime {
  const seconds = Math.floor(ms / 1000)
  return [seconds, Math.round((ms - 1000 * seconds) * 1e6)]
}

const contextOf = ({ traceId, spanId }: TraceContext) => ({ traceId, spanId, traceFlags: 1 })

function readable(
  span: StageSpan,
  resource: ReadableSpan['resource'],
  instrumentationScope: ReadableSpan['instrumentationScope'],
): ReadableSpan {
  const { name, context, parent, link, start, end, attributes, error } = span
  const spanContext = contextOf(context)
  return {
    name,
    kind: name === 'infer' ? SpanKind.SERVER : SpanKind.INTERNAL,
    spanContext: () => spanContext,
    ...(parent && { parentSpanContext: { ...contextOf(parent), isRemote: name === 'infer' } }),
    startTime: hrTime(start),
    endTime: hrTime(end),
    duration: hrParts(end - start),
    ended: true,
    status:
      error === undefined ? { code: SpanStatusCode.UNSET } : { code: SpanStatusCode.ERROR, message: error },
    attributes,
    links: link ? [{ context: contextOf(link) }] : [],
    events: [],
    resource,
    instrumentationScope,
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  }
}
