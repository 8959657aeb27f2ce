import { Type } from 'typebox'
import { choice } from './choice.js'

/** What a guard can find; docs/guides/guards.md says when. */
export const FINDING_KINDS = [
  'action_bounds',
  'joint_position',
  'joint_step',
  'first_action',
  'seam',
  'state_bounds',
  'state_jump',
  'state_stuck',
  'joints_swapped',
  'camera_frozen',
  'camera_black',
] as const

export const GuardFindingSchema = Type.Object(
  {
    kind: choice(FINDING_KINDS),
    joint: Type.String({
      description: 'its name and unit in the embodiment, or its place; a number of the state, a camera',
    }),
    row: Type.Union([Type.Integer(), Type.Null()], {
      description: 'of the chunk; null for what is of the observation',
    }),
    value: Type.Number({ description: 'as it was before clamping' }),
    limit: Type.Number({ description: 'that it passed' }),
  },
  { title: 'GuardFinding' },
)

export interface GuardFinding {
  readonly kind: (typeof FINDING_KINDS)[number]
  readonly joint: string
  readonly row: number | null
  readonly value: number
  readonly limit: number
}

/** What the guards saw in an observation and its action chunk. */
export interface GuardReport {
  /** Action values outside a bound or limit. */
  outOfBounds: number
  clamped: boolean
  /** What the bounds of actions and state are made of; null when the statistics have neither. */
  bounds: 'percentiles' | 'extremes' | null
  /** The first MOST_FINDINGS of them. */
  findings: readonly GuardFinding[]
}

/** Findings that one answer carries. */
export const MOST_FINDINGS = 16

/** `guard` in an answer. */
export const GuardSchema = Type.Object(
  {
    out_of_bounds: Type.Integer({ description: 'action values outside the policy’s bounds and limits' }),
    clamped: Type.Boolean({ description: 'true when they were clamped' }),
    bounds: Type.Union([Type.Literal('percentiles'), Type.Literal('extremes'), Type.Null()], {
      description: 'what the statistics give as bounds; null when they give none',
    }),
    findings: Type.Array(GuardFindingSchema, { maxItems: MOST_FINDINGS }),
  },
  { title: 'GuardReport' },
)

/** As an answer carries it. */
export const guardReply = ({ outOfBounds, clamped, bounds, findings }: GuardReport) => ({
  out_of_bounds: outOfBounds,
  clamped,
  bounds,
  findings: findings.map(({ kind, joint, row, value, limit }) => ({ kind, joint, row, value, limit })),
})
