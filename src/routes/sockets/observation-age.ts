import type { ObservationMessage } from '../../contract/stream-messages.js'
import { pointerTo } from '../../contract/validate.js'
import { TurboPiError } from '../../errors.js'

/** Older than any deadline may be: no observation, but a clock that shows another time. */
const MAX_AGE_MS = 600_000

type Stamps = Pick<ObservationMessage, 'captured_at' | 'sent_at'>

/**
 * Milliseconds from the capture of an observation to its arrival at `now`, Unix time; 0 when it does not tell. Stamps in
 * the future by more than `toleranceMs`, or absurdly old, are OBSERVATION_INVALID: taken as they are they would make a
 * stale observation look fresh, or every observation expired.
 */
export function ageOnArrival({ captured_at, sent_at }: Stamps, now: number, toleranceMs: number): number {
  if (captured_at === undefined) return 0
  const age = (sent_at ?? now) - captured_at
  const than = sent_at === undefined ? 'the server’s clock' : 'sent_at'
  const mend =
    sent_at === undefined
      ? 'Send sent_at on the same clock beside it, or correct captured_at by the offset that time messages give'
      : 'Take both stamps from one clock'
  if (age < -toleranceMs) throw absurd(`is ${Math.round(-age)} ms later than ${than}`, mend)
  if (age > MAX_AGE_MS) throw absurd(`is ${Math.round(age / 1000)} s earlier than ${than}`, mend)
  return Math.max(0, age)
}

function absurd(what: string, mend: string): TurboPiError {
  const pointer = pointerTo('captured_at')
  return new TurboPiError('OBSERVATION_INVALID', `${pointer} ${what}. ${mend}.`, {
    fields: [{ pointer, detail: what }],
  })
}
