import type { ServiceListener } from '../service/events.js'
import type { Served } from '../service/served.js'
import { answeredSpans, failedSpans, type StageSpan } from './spans.js'

/** Where finished spans go. Neither blocks nor throws; a queue that is full drops them. */
export interface SpanSink {
  add(span: StageSpan): void
  /** Sends what waits, for so long; never rejects. */
  close(ms: number): Promise<void>
}

/** Draws what a policy answers as traces, from the events of its service: after the answers have left. */
export function trace(served: Served, sink: SpanSink, ratio: number): void {
  const sampling = { policy: served.name, ratio }
  const listener: ServiceListener = {
    answered: event => answeredSpans(event, sampling).forEach(sink.add),
    failed: event => failedSpans(event, sampling).forEach(sink.add),
  }
  served.listen(listener)
}
