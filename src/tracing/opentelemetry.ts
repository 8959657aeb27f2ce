/** What is used of OpenTelemetry. `npm run build` puts it into one file here (tools/bundle.mjs): its packages would take 33 MB of an installation. */
export { type HrTime, SpanKind, SpanStatusCode } from '@opentelemetry/api'
export { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
export { resourceFromAttributes } from '@opentelemetry/resources'
export { BatchSpanProcessor, type ReadableSpan, type SpanExporter } from '@opentelemetry/sdk-trace-base'
