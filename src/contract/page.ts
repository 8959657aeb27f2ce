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
  /** Null while the engine is loading. */
  runtime: { backend: string; device: string; precision: string } | null
  /** JSON schema of the observation. */
  observation_schema: object
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
  state: Record<string, number[]>
  /** Keys of the images that it brought. */
  cameras: string[]
  actions: number[][]
  /** Of its dimensions. */
  joints: readonly string[]
  /** What the guards found. */
  findings: readonly GuardFinding[]
  server_timing: Static<typeof ServerTiming>
}

/** GET /page/sessions: most recent first. */
export interface SeenSessions {
  /** Whether the server was started with --watch-sessions. */
  watching: boolean
  sessions: SeenSession[]
}
