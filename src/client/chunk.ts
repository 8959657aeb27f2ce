import type { ActionsMessage } from '../contract/stream-messages.js'

/** Actions that the robot is to take one after the other. */
export interface ActionChunk {
  /** One row an action, in the robot's action space. */
  actions: number[][]
  /** The number of the observation that it answers. */
  seq: number
  /** Counts the chunks of its session; names this one as the previous chunk of another. */
  chunkId: number
  /** The connection that it came over. */
  session: string
  /** Of the execution: each reset starts the next one. */
  generation: number
  /** When its observation was captured, on the clock of performance.now(). */
  capturedAt: number
  /** Milliseconds from the capture of the observation to the moment when the server sent this. */
  observationAgeMs: number
  /** Milliseconds from sending the observation to this answer. */
  roundTripMs: number
  /** When it stops being of use, on the clock of `capturedAt`; null without a deadline. */
  validUntil: number | null
  /** The deadline had passed: not to be played as if it were fresh. */
  late: boolean
  /** Repeats this answer bit for bit; null when noise was given. */
  seed: number | null
  coalesced: boolean
  /** The prompt was longer than the policy takes and lost its tail. */
  truncated: boolean
  /** What the guard saw, as the server tells it. */
  guard: ActionsMessage['guard']
  /** What became of `rtc`, as the server tells it: a lowered guidance weight, for example. Undefined when it was not asked for. */
  rtc: ActionsMessage['rtc']
  /** Digest of the policy that acts. */
  model: string
  /** Milliseconds of each stage on the server. */
  serverTiming: ActionsMessage['server_timing']
}

/** An `actions` message as the answer to a call. */
export function chunkOf(
  message: ActionsMessage,
  {
    call,
    sentAt,
  }: { call: { capturedAt: number; options: { deadlineMs?: number | undefined } }; sentAt: number },
  session: string,
  generation: number,
  now: number,
): ActionChunk {
  const { deadlineMs } = call.options
  return {
    actions: message.actions,
    seq: message.seq,
    chunkId: message.chunk_id,
    session,
    generation,
    capturedAt: call.capturedAt,
    observationAgeMs: message.obs_age_ms,
    roundTripMs: now - sentAt,
    validUntil: deadlineMs === undefined ? null : call.capturedAt + deadlineMs,
    late: message.late,
    seed: message.seed,
    coalesced: message.coalesced,
    truncated: message.truncated,
    guard: message.guard,
    rtc: message.rtc,
    model: message.model,
    serverTiming: message.server_timing,
  }
}
