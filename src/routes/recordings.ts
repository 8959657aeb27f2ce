import type { FastifyInstance } from 'fastify'
import type { Registry } from 'prom-client'
import { type Static, Type } from 'typebox'
import { compileCheck } from '../contract/validate.js'
import type { WireBody } from './body.js'
import { problemReply } from './problems.js'
import type { Robots } from './robots.js'

const Status = Type.Object(
  {
    recording: Type.Boolean(),
    robots: Type.Union([Type.Array(Type.String()), Type.Null()], {
      description: 'that are recorded; null: all, and callers without a name',
    }),
    except: Type.Array(Type.String(), { description: 'of all, those that are left out' }),
    file: Type.Union([Type.String(), Type.Null()], { description: 'that is being written, on the server' }),
    files: Type.Integer({ description: 'begun since the server started' }),
    observations: Type.Integer({ description: 'handed to the recording' }),
    dropped: Type.Integer({ description: 'observations, reports and errors that are missing in it' }),
    paused: Type.Union([Type.String(), Type.Null()], { description: 'why nothing can be written' }),
  },
  { title: 'RecordingStatus', description: 'What is being recorded from now on.' },
)

const Which = Type.Object(
  {
    robots: Type.Optional(Type.Array(Type.String(), { minItems: 1, description: 'names; all when absent' })),
  },
  { additionalProperties: false, title: 'RecordedRobots' },
)
const checkWhich = compileCheck(Which, 'BODY_MALFORMED')

/** What a recorder can be asked. */
export interface Recordings {
  /** Its numbers, for /metrics. */
  readonly registry: Registry
  readonly status: Static<typeof Status>
  start(robots?: readonly string[]): Static<typeof Status>
  stop(robots?: readonly string[]): Promise<Static<typeof Status>>
}

/** GET /recordings: what is being recorded. POST /recordings/start and /recordings/stop: all robots, or some. */
export function recordingsRoutes(app: FastifyInstance, recordings: Recordings, robots: Robots): void {
  const named = (body: unknown) => {
    if (body === undefined || body === null) return undefined
    const { value } = body as WireBody
    checkWhich(value)
    return (value as Static<typeof Which>).robots?.map(name => robots.checked(name))
  }
  const schema = (operationId: string, summary: string) => ({
    operationId,
    summary,
    description: 'docs/guides/recording.md says what a recording holds.',
    tags: ['recordings'],
    response: { 200: Status, '4xx': problemReply('Refused; the recording stays as it is.') },
  })
  app.get(
    '/recordings',
    { schema: schema('recordingStatus', 'What is being recorded') },
    async () => recordings.status,
  )
  const posts = {
    start: ['Record robots, or all of them', (names?: readonly string[]) => recordings.start(names)],
    stop: [
      'Record robots no longer, or nobody; answered when the file is whole',
      (names?: readonly string[]) => recordings.stop(names),
    ],
  } as const
  for (const [name, [summary, act]] of Object.entries(posts))
    app.post(
      `/recordings/${name}`,
      {
        schema: { ...schema(`${name}Recording`, summary), body: Which },
        validatorCompiler: () => () => true,
      },
      async request => {
        const status = await act(named(request.body))
        request.log.info(status, `recording ${name}`)
        return status
      },
    )
}
