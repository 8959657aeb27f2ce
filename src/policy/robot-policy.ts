import type { GuardFinding } from '../contract/guard.js'
import type { CameraSpec, Observation, ObservationSpec } from '../contract/observation.js'
import { pointerTo } from '../contract/validate.js'
import { TurboPiError } from '../errors.js'
import type { ModelConfig } from '../families/pi0/config.js'
import type { PerceiveRow } from '../families/pi0/perceive-row.js'
import { variantOf } from '../families/pi0/variant.js'
import { observationSpec } from './embodiment.js'
import { blackCamera } from './guard/cameras.js'
import { Guard } from './guard/guard.js'
import { jointNames, stateNames } from './guard/joint-limits.js'
import { type RobotWatch, requirePassed } from './guard/robot-watch.js'
import { policyIdentity } from './identity.js'
import { ImageDecoder, type ImagePlace } from './images/decoder.js'
import { JOINT_TRANSFORMS, type JointTransform } from './joint-transform.js'
import { Normaliser } from './normalise.js'
import type { PolicyParts } from './parts.js'
import type { ActionChunk, Policy, PreparedObservation, Wanted } from './policy.js'
import { PreviousChunks } from './previous-chunk.js'
import { promptTexts } from './prompt.js'

const MOST_NORMALISED = 1e15

/** A policy over the parts that the loader has checked. */
export class RobotPolicy implements Policy {
  readonly name: string
  readonly spec: ObservationSpec
  readonly model: ModelConfig
  readonly identity: string
  readonly weightsPath: string
  readonly adapterPath: string | undefined
  readonly actionSize: number
  readonly jointNames: readonly string[]
  readonly stateNames: readonly string[]
  readonly defaultSteps: number
  readonly metadata: Readonly<Record<string, unknown>>
  readonly #parts: PolicyParts
  readonly #decoder: ImageDecoder
  /** The camera of each slot, and where its image stands; undefined where the embodiment has none. */
  readonly #slots: readonly ((CameraSpec & ImagePlace) | undefined)[]
  readonly #stateNormaliser: Normaliser
  readonly #actionNormaliser: Normaliser
  readonly #guard: Guard
  readonly #joints: JointTransform | undefined
  readonly previousChunks: PreviousChunks

  constructor(parts: PolicyParts) {
    const { embodiment, model, stats, normalisation } = parts
    this.#parts = parts
    this.name = parts.name
    this.spec = observationSpec(embodiment, parts.defaultPrompt, normalisation.convention === 'lerobot')
    this.model = model
    this.identity = policyIdentity(parts)
    this.weightsPath = parts.weightsPath
    this.adapterPath = parts.adapterPath
    this.actionSize = embodiment.actionSize
    this.jointNames = jointNames(embodiment)
    this.stateNames = stateNames(embodiment)
    this.defaultSteps = parts.defaultSteps
    this.metadata = parts.metadata
    this.#decoder = new ImageDecoder({
      size: model.vision.imageSize,
      maxPixels: parts.maxImagePixels,
      resize: parts.resize,
    })
    this.#slots = model.cameraSlots.map(slot => {
      const camera = this.spec.cameras.find(camera => camera.slot === slot)
      return camera && { ...camera, pointer: pointerOf(camera.key) }
    })
    this.#stateNormaliser = new Normaliser(stats.state, normalisation.state, normalisation.convention)
    this.#actionNormaliser = new Normaliser(stats.actions, normalisation.actions, normalisation.convention)
    this.#guard = new Guard(stats, parts.guard, embodiment)
    this.#joints = embodiment.jointTransform && JOINT_TRANSFORMS[embodiment.jointTransform]
    this.previousChunks = new PreviousChunks({
      actionSize: embodiment.actionSize,
      actionDim: model.actionDim,
      deltaMask: embodiment.deltaMask,
      joints: this.#joints,
      normaliser: this.#actionNormaliser,
    })
  }

  pixels({ images }: Observation): number {
    let pixels = 0
    for (const camera of this.#slots) {
      const image = camera && images[camera.key]
      if (image) pixels += this.#decoder.pixels(image, camera)
    }
    return pixels
  }

  async prepare(observation: Observation, wanted?: Wanted): Promise<PreparedObservation> {
    const start = performance.now()
    const state = this.state(observation)
    const normalised = this.#stateNormaliser.normalise(state)
    // A joint that never moved in training makes large numbers; larger ones yet overflow within the network.
    if (!normalised.every(x => Math.abs(x) <= MOST_NORMALISED))
      throw invalid(this.spec.state[0]!.key, 'is too far from what the policy was trained on for any number')
    const normalisedState = new Float64Array(this.model.actionDim)
    normalisedState.set(normalised)
    const { tokens, truncated } = this.#tokens(
      observation,
      this.#parts.paddedPromptState ? normalisedState : normalised,
    )
    const prepared = performance.now()
    const images = await this.#images(observation, wanted)
    const findings: GuardFinding[] = []
    for (let i = 0; i < images.length; i += 1) {
      const black = images[i] && blackCamera(this.#slots[i]!.key, images[i]!)
      if (black) findings.push(black)
    }
    requirePassed(findings, this.#parts.guard.mode)
    const timing = { decodeMs: performance.now() - prepared, prepareMs: prepared - start }
    const row: PerceiveRow = variantOf(this.model).stateToken
      ? { images, tokens, state: Float32Array.from(normalisedState) }
      : { images, tokens }
    return { row, truncated, normalisedState, state, timing, findings }
  }

  async picture({ images }: Observation, key: string): Promise<Uint8Array | undefined> {
    const camera = this.#slots.find(slot => slot?.key === key)
    const image = camera && images[key]
    return image && this.#decoder.decode(image, camera)
  }

  finish(actions: Float32Array, prepared: PreparedObservation): ActionChunk {
    const { actionHorizon, actionDim } = this.model
    const { actionSize } = this
    if (actions.length !== actionHorizon * actionDim)
      throw new TurboPiError(
        'RUNTIME_FAILED',
        `The runtime gave ${actions.length} action values, expected ${actionHorizon} × ${actionDim}.`,
      )
    const chunk = this.#actionNormaliser.unnormalise(actions, actionDim, actionSize)
    const { state, findings } = prepared
    const guard = this.#guard.chunk(chunk, state, findings, () => this.#toRobot(chunk, state))
    return { actions: chunk, guard }
  }

  watch(): RobotWatch {
    return this.#guard.watch(observation => this.state(observation))
  }

  close(): Promise<void> {
    return this.#decoder.close()
  }

  /** Offsets become absolute in training joint space, then the joints are the robot's (network §4.4). */
  #toRobot(chunk: Float64Array, state: Float64Array): void {
    const { deltaMask } = this.#parts.embodiment
    if (!deltaMask && !this.#joints) return
    for (let start = 0; start < chunk.length; start += this.actionSize) {
      const row = chunk.subarray(start, start + this.actionSize)
      deltaMask?.forEach((isDelta, i) => {
        if (isDelta) row[i] = (row[i] as number) + (state[i] as number)
      })
      this.#joints?.action(row)
    }
  }

  state(observation: Observation): Float64Array {
    const state = new Float64Array(this.spec.state.reduce((sum, { size }) => sum + size, 0))
    let filled = 0
    for (const { key, size } of this.spec.state) {
      const values = observation.state[key]
      if (values?.length !== size) {
        throw invalid(
          key,
          values ? `must hold ${size} numbers, got ${values.length}` : 'is required and missing',
        )
      }
      state.set(values, filled)
      filled += size
    }
    // LeRobot's states are float32 tensors from the start, whatever the robot sends.
    if (this.#parts.normalisation.convention === 'lerobot') return Float64Array.from(state, Math.fround)
    return this.#joints ? this.#joints.state(state) : state
  }

  #tokens(observation: Observation, state: Float64Array): { tokens: Int32Array; truncated: boolean } {
    const prompt = observation.prompt ?? this.spec.prompt.default
    if (prompt === undefined) throw invalid(this.spec.prompt.key, 'is required and missing')
    const { tokenizer, promptForm } = this.#parts
    const ids = [tokenizer.bosId]
    for (const text of promptTexts(prompt, promptForm, state)) ids.push(...tokenizer.encode(text))
    const { maxTokenLength } = this.model
    return {
      tokens: new Int32Array(ids.slice(0, maxTokenLength)),
      truncated: ids.length > maxTokenLength,
    }
  }

  #images(observation: Observation, wanted: Wanted | undefined): Promise<(Uint8Array | null)[]> {
    if (!this.#slots.some(camera => camera && observation.images[camera.key])) {
      const cameras = this.#slots.flatMap(camera => camera?.key ?? [])
      throw invalid(
        cameras[0] as string,
        `is missing, and so is every other camera; the policy needs one of ${cameras.join(', ')}`,
      )
    }
    return Promise.all(
      this.#slots.map(async camera => {
        if (!camera) return null
        const image = observation.images[camera.key]
        if (image) return this.#decoder.decode(image, camera, wanted)
        if (camera.required) throw invalid(camera.key, 'is required and missing')
        return null
      }),
    )
  }
}

/** A dot in a key nests. */
const pointerOf = (key: string) => pointerTo(...key.split('.'))

function invalid(key: string, detail: string): TurboPiError {
  const pointer = pointerOf(key)
  return new TurboPiError('OBSERVATION_INVALID', `${pointer} ${detail}`, { fields: [{ pointer, detail }] })
}
