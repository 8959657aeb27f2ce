import { type TObject, Type } from 'typebox'
import { choice } from './choice.js'
import type { ActionShape } from './wire.js'

/** What a robot can mark. An episode that is marked a success or a failure ends there. */
export const MARKS = [
  'episode_start',
  'success',
  'failure',
  'intervention_start',
  'intervention_end',
  'note',
] as const
export type MarkKind = (typeof MARKS)[number]

/** Actions that one report may carry. */
export const MOST_EXECUTED = 256

const closed = { additionalProperties: false } as const
const count = (description: string) =>
  Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description })
const clock = (description: string) =>
  Type.Number({ minimum: 0, description: `${description}, in milliseconds of the client's clock` })

const Mark = Type.Object(
  {
    kind: choice(MARKS, { description: 'what is marked' }),
    at: clock('when it was so'),
    text: Type.Optional(Type.String({ maxLength: 1024, description: 'for people' })),
  },
  closed,
)

/** What the robot did, for the recording: commanded actions, oldest first, and marks. Nothing answers it. */
export function reportMessage({ actionSize }: ActionShape): TObject {
  const executed = Type.Object(
    {
      action: Type.Array(Type.Number(), {
        minItems: actionSize,
        maxItems: actionSize,
        description: 'as it was commanded',
      }),
      at: clock('when it was commanded'),
      seq: Type.Optional(count('of the observation whose chunk it is from; absent when it is from none')),
      row: Type.Optional(count('of that chunk')),
    },
    closed,
  )
  return Type.Object(
    {
      type: Type.Literal('report'),
      sent_at: clock('when this message was sent'),
      executed: Type.Optional(Type.Array(executed, { maxItems: MOST_EXECUTED })),
      marks: Type.Optional(Type.Array(Mark, { maxItems: MOST_EXECUTED })),
    },
    {
      ...closed,
      title: 'report',
      description:
        'What the robot did, for the server’s recording: commanded actions and marks. Only where `features` lists `report`; nothing answers it.',
    },
  )
}

/** A commanded action as a client reports it. */
export interface ExecutedAction {
  action: number[]
  at: number
  seq?: number
  row?: number
}

/** A mark as a client reports it; `at` is in milliseconds of its clock. */
export interface ReportedMark {
  kind: MarkKind
  at: number
  text?: string
}

/** A report that has been checked. */
export interface ReportMessage {
  type: 'report'
  sent_at: number
  executed?: ExecutedAction[]
  marks?: ReportedMark[]
}
