import type { GuardFinding, GuardReport } from '../contract/guard.js'
import type { Observation, ObservationSpec } from '../contract/observation.js'
import type { ModelConfig } from '../families/pi0/config.js'
import type { PerceiveRow } from '../families/pi0/perceive-row.js'
import type { RobotWatch } from './guard/robot-watch.js'
import type { PreviousChunks } from './previous-chunk.js'

/** An observation made ready for the network, and what `finish` needs of it later. */
export interface PreparedObservation {
  /** What the network takes. */
  row: PerceiveRow
  /** True when the prompt was longer than maxTokenLength and lost its tail. */
  truncated: boolean
  /** Normalised state padded with zeros to actionDim, float64 as openpi computes it. */
  normalisedState: Float64Array
  /** Un-normalised state in robot-input space, for absolute-from-delta actions. */
  state: Float64Array
  timing: { decodeMs: number; prepareMs: number }
  /** What the guard found odd about the pictures. */
  findings: readonly GuardFinding[]
}

/** Whether an observation is still worth preparing: an AbortSignal, or the place that it has in a queue. */
export type Wanted = Pick<AbortSignal, 'throwIfAborted'>

export interface ActionChunk {
  /** Row-major [actionHorizon, actionSize] in robot action space. */
  actions: Float64Array
  guard: GuardReport
}

/**
 * A loaded policy: what an observation means to the network and what its output means to the robot.
 * Pre- and post-processing are openpi's (network §4), bit for bit.
 */
export interface Policy {
  readonly name: string
  readonly spec: ObservationSpec
  /** The network's config, with this policy's horizon and token length. */
  readonly model: ModelConfig
  /** Digest of all that makes it but the weights; see `policyIdentity`. */
  readonly identity: string
  /** Absolute path of the weights: a safetensors file, the index of a sharded one, or the params folder of a JAX checkpoint. */
  readonly weightsPath: string
  /** Folder of a PEFT adapter that is merged into the weights. */
  readonly adapterPath?: string | undefined
  /** Numbers of a robot action. */
  readonly actionSize: number
  /** What they are called, with units where the embodiment has them. */
  readonly jointNames: readonly string[]
  /** The same of the numbers of the state, one part after the other. */
  readonly stateNames: readonly string[]
  readonly defaultSteps: number
  /** openpi's policy_metadata, sent as the first frame of its protocol. */
  readonly metadata: Readonly<Record<string, unknown>>
  /**
   * Pixels that `prepare` will go through, told in microseconds by the images' first bytes. Throws IMAGE_* for those that need
   * not be looked at any further.
   */
  pixels(observation: Observation): number
  /**
   * Decodes and resizes images, normalises the state, writes and tokenises the prompt. Asks `wanted` between the images.
   * Throws IMAGE_*, OBSERVATION_INVALID, or what `wanted` throws.
   */
  prepare(observation: Observation, wanted?: Wanted): Promise<PreparedObservation>
  /**
   * What the network sees of a camera: 8-bit RGB [imageSize, imageSize, 3]; undefined for one that it does not use, or that the
   * observation lacks. Throws IMAGE_*.
   */
  picture(observation: Observation, camera: string): Promise<Uint8Array | undefined>
  /** Un-normalised state in training joint space. Throws OBSERVATION_INVALID. */
  state(observation: Observation): Float64Array
  /** Brings what is left of a chunk back into the network's space, for real-time chunking. */
  readonly previousChunks: PreviousChunks
  /** A guard for the observations and chunks of one robot. */
  watch(): RobotWatch
  /** Un-normalises [actionHorizon, actionDim] and guards it. Throws ACTIONS_NOT_FINITE or ACTIONS_OUT_OF_BOUNDS. */
  finish(actions: Float32Array, prepared: PreparedObservation): ActionChunk
  close(): Promise<void>
}
