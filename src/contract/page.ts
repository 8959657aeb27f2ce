import type { Static } from 'typebox'
import type { GuardFinding } from './guard.js'
import type { ObservationSpec } from './observation.js'
import type { ServerTiming } from './server-timing.js'
import type { ActionShape } from './wire.js'

/** GET /metadata, as far as the page reads it. */
export interface Metadata {
  policy: string
  observation: ObservationSpec
  shape: ActionShape
  defaultSteps: number
  /** Names of the action's dimensions, with units where the embodiment has them. */
  joints: readonly string[]
  /** The same of the numbers of the state, one part after the other. */
  stateNames: readonly string[]
  /** Null while the engine is loading. */
  runtime: { backend: string; device: string; precision: string } | null
  /** JSON schema of the observation. */
  observation_schema: object
}

/** How often something was timed, and the seconds that it took in all. */
export interface Timed {
  count: number
  seconds: number
}

/** GET /page/figures: of all policies since the server was started. */
export interface Totals {
  answers: number
  /** Answers from their request to their reply, the network's part of it, and the wait for the engine. */
  answered: Timed
  engine: Timed
  waited: Timed
}

/** A robot that has named itself, in numbers since the server knows it. */
export interface FleetRobot {
  robot: string
  /** Served name of the policy that it asked last. */
  policy: string | null
  /** Open WebSocket connections. */
  connections: number
  /** Milliseconds since it was last answered, skipped or refused. */
  heard_ms: number
  answers: number
  /** Of the last answered observation, when its answer left; in milliseconds. */
  age_ms: number | null
  /** Answers after their deadline. */
  late: number
  skipped: number
  /** Of the guards, in answers; the last of them. */
  findings: number
  last_finding: GuardFinding | null
  errors: number
  /** Code of the last error. */
  last_error: string | null
  /** Why and since when, in Unix milliseconds, a guard holds it. */
  held: { since: number; finding: GuardFinding } | null
}

/** GET /page/fleet: those who need somebody first. */
export interface Fleet {
  /** Robots that the server knows; `robots` may be fewer. */
  known: number
  robots: FleetRobot[]
}

/** The last observation of a session and the chunk that answered it. */
export interface SeenSession {
  session: string
  /** Name of the policy, where several are served. */
  policy?: string
  /** Observations seen of this session. */
  count: number
  age_ms: number
  prompt: string | null
  /** Each number with its name. */
  state: { name: string; value: number }[]
  /** The images that it brought. */
  cameras: SeenCamera[]
  actions: number[][]
  /** Of its dimensions. */
  joints: readonly string[]
  /** What the guards found. */
  findings: readonly GuardFinding[]
  server_timing: Static<typeof ServerTiming>
}

export interface SeenCamera {
  key: string
  /** Of the network; null for a camera that the policy does not use. */
  slot: string | null
}

/** GET /page/sessions: most recent first. */
export interface SeenSessions {
  /** Whether the server was started with --watch-sessions. */
  watching: boolean
  sessions: SeenSession[]
}
