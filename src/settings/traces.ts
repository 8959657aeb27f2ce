import { number, settings, text } from './kinds.js'

function collector(value: string): string {
  if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol))
    throw new Error('an address such as http://127.0.0.1:4318')
  return value
}

/** OpenTelemetry traces (docs/guides/watching.md). */
export const TRACE_SETTINGS = settings('Traces', {
  otlpEndpoint: text({
    takes: 'URL',
    meaning: 'base address of an OpenTelemetry collector that takes OTLP over HTTP; no traces without it',
    parse: collector,
  }),
  traceRatio: number({
    default: 1,
    min: 0,
    max: 1,
    meaning:
      'share of the observations that are traced; those whose caller sends a traceparent are if the caller says so',
  }),
})
