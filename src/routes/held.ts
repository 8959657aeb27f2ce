import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { GuardFindingSchema } from '../contract/guard.js'
import type { Hold } from '../service/held-robots.js'
import type { Served } from '../service/served.js'
import { problemReply } from './problems.js'
import type { Robots } from './robots.js'

const Held = Type.Object(
  {
    robot: Type.String(),
    since: Type.Number({ description: 'Unix milliseconds' }),
    finding: GuardFindingSchema,
  },
  { title: 'HeldRobot' },
)

const ClearReply = Type.Object(
  {
    robot: Type.String(),
    was: Type.Union([Held, Type.Null()], { description: 'why it was held; null when it was not' }),
  },
  { title: 'ClearedRobot', description: 'It may go on.' },
)

const told = ({ robot, since, finding }: Hold) => ({ robot, since, finding })

/** GET /robots/held: what guards in mode hold have stopped. POST /robots/NAME/clear: lets a robot go on. */
export function heldRoutes(app: FastifyInstance, served: Served, robots: Robots): void {
  const held = () => served.current.service.held
  app.get(
    '/robots/held',
    {
      schema: {
        operationId: 'heldRobots',
        summary: 'Robots that a guard has stopped until they are cleared',
        description: 'Of guards in mode hold; docs/guides/guards.md says when they stop a robot.',
        tags: ['robots'],
        response: { 200: Type.Array(Held, { description: 'Those that are stopped now.' }) },
      },
    },
    async () => held().list.map(told),
  )
  app.post<{ Params: { robot: string } }>(
    '/robots/:robot/clear',
    {
      schema: {
        operationId: 'clearRobot',
        summary: 'Let a robot go on that a guard has stopped, once somebody has looked at it',
        description: 'What it does next counts as no continuation of what was seen before.',
        tags: ['robots'],
        params: Type.Object({
          robot: Type.String({ description: 'name that the robot gives itself', examples: ['arm-1'] }),
        }),
        response: {
          200: ClearReply,
          '4xx': problemReply('This is no name of a robot.'),
        },
      },
    },
    async request => {
      const robot = robots.checked(request.params.robot)
      const was = held().clear(robot)
      request.log.info({ robot, was }, 'cleared')
      return { robot, was: was ? told(was) : null }
    },
  )
}
