import type { FastifyBaseLogger } from 'fastify'
import { TurboPiError } from '../../errors.js'
import type { PolicyService } from '../../service/service.js'
import type { Connection } from './connection.js'

/** Lets the robot of a connection go on that a guard has stopped. Throws ROBOT_INVALID when it has no name. */
export function clearHold({ robot }: Connection, { held }: PolicyService, log: FastifyBaseLogger): void {
  if (!robot)
    throw new TurboPiError(
      'ROBOT_INVALID',
      'Robots are held by their names, and this connection gave none: say hello with one, or ask POST /robots/NAME/clear.',
    )
  const was = held.clear(robot.name)
  log.info({ robot: robot.name, was }, 'cleared')
}
