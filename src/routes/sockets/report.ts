import type { ReportMessage } from '../../contract/report.js'
import { TurboPiError } from '../../errors.js'
import type { PolicyService } from '../../service/service.js'
import type { Connection } from './connection.js'

/**
 * Hands on what a robot says that it did, its times on the clock of this process: the way of the message counts as none.
 * Throws BODY_MALFORMED where nobody records, and OPTIONS_INVALID for times after the message.
 */
export function report(
  { sent_at: sentAt, executed = [], marks = [] }: ReportMessage,
  { caller: session, robot }: Connection,
  { events }: PolicyService,
): void {
  if (!events.hears('reported'))
    throw new TurboPiError(
      'BODY_MALFORMED',
      'This server records nothing: send reports only where the features of ready list report.',
    )
  const at = performance.now()
  for (const told of [...executed, ...marks])
    if (told.at > sentAt)
      throw new TurboPiError('OPTIONS_INVALID', `A report of ${told.at} was sent at ${sentAt}, before it.`)
  const here = <T extends { at: number }>(told: T): T => ({ ...told, at: at - (sentAt - told.at) })
  events.emit('reported', {
    session,
    robot: robot?.name,
    at,
    executed: executed.map(here),
    marks: marks.map(here),
  })
}
