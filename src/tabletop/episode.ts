import { TurboPiError } from '../errors.js'
import { drawBase, drawWrist, enlarge } from './drawing.js'
import { Random } from './random.js'
import { ACTION_SIZE, applyAction, isSolved, randomScene, type Scene, stateOf } from './scene.js'
import { promptOf, type Task } from './tasks.js'

/** An episode ends after this many control steps at the latest. */
export const EPISODE_STEPS = 80

/** Streams of an episode's seed. */
const LAYOUT = 1
const NOISE = 2

/** What the LIBERO embodiment takes. */
export interface TabletopObservation {
  /** Base camera, u8 RGB [224, 224, 3]. */
  image: Uint8Array
  /** Wrist camera, u8 RGB [224, 224, 3]. */
  wristImage: Uint8Array
  /** Position 3, axis-angle 3, finger positions 2. */
  state: Float64Array
  prompt: string
}

export interface StepResult {
  /** The task is solved or the steps are used up. */
  done: boolean
  success: boolean
}

/** One run of one task on the tabletop; the same seed, task and actions always give the same pixels. */
export class Episode {
  readonly scene: Scene
  #steps = 0
  #success = false

  constructor(
    readonly seed: number,
    readonly task: Task,
  ) {
    this.scene = randomScene(new Random(seed, LAYOUT), task)
  }

  /** Control steps taken. */
  get steps(): number {
    return this.#steps
  }

  get success(): boolean {
    return this.#success
  }

  get done(): boolean {
    return this.#success || this.#steps >= EPISODE_STEPS
  }

  /** The generator of this step's pixel noise, base camera first. */
  pixelNoise(): Random {
    return new Random(this.seed, NOISE + this.#steps)
  }

  observe(): TabletopObservation {
    const noise = this.pixelNoise()
    return {
      image: enlarge(drawBase(this.scene, noise)),
      wristImage: enlarge(drawWrist(this.scene, noise)),
      state: stateOf(this.scene),
      prompt: promptOf(this.task),
    }
  }

  /** Carries out one action of 7 finite numbers; OPTIONS_INVALID for any other and after the end. */
  step(action: ArrayLike<number>): StepResult {
    if (this.done)
      throw new TurboPiError(
        'OPTIONS_INVALID',
        `the episode ended after ${this.#steps} steps: start another one`,
      )
    const numbers = Array.from(action)
    if (numbers.length !== ACTION_SIZE || !numbers.every(Number.isFinite))
      throw new TurboPiError(
        'OPTIONS_INVALID',
        `action: expected ${ACTION_SIZE} finite numbers, got [${numbers.join(', ')}]`,
      )
    applyAction(this.scene, numbers)
    this.#steps += 1
    this.#success = isSolved(this.scene, this.task)
    return { done: this.done, success: this.#success }
  }
}

/** A seed of its own for the policy's noise in every inference of an episode. */
export function noiseSeed(episodeSeed: number, step: number): number {
  return (Math.imul(episodeSeed, 0x9e3779b1) + Math.imul(step, 0x85ebca6b)) >>> 0
}
