import type { GuardFinding } from '../../contract/guard.js'
import type { MovedJoint } from './moved-joints.js'

/** Motions that must have been seen, and the share of the past that each further one lets fade. */
const LEAST_MOTIONS = 12
const FADE = 0.05

/** How far two joints must follow each other's actions, on the average, and how much farther than their own. */
const LIKE_ANOTHER = 0.8
const BETTER_BY = 0.25

/** Observations further apart are not compared. */
const COMPARED_MS = 1000

/**
 * Watches one robot for two joints that have changed places: what the actions command of one is what the state shows of the
 * other, and the other way round. Neither of the two leaves its bounds by that.
 */
export class SwapWatch {
  readonly #joints: readonly MovedJoint[]
  /** Sums over the motions seen, fading: [command, motion] products, and squares of both. */
  readonly #products: Float64Array
  readonly #commands: Float64Array
  readonly #motions: Float64Array
  /** What the last answer commands, in shares of the range, and how the state has moved since. */
  readonly #command: Float64Array
  readonly #motion: Float64Array
  #answered = false
  #last: { state: Float64Array; at: number } | undefined
  #count = 0

  constructor(joints: readonly MovedJoint[]) {
    const { length } = joints
    this.#joints = joints
    this.#products = new Float64Array(length * length)
    this.#commands = new Float64Array(length)
    this.#motions = new Float64Array(length)
    this.#command = new Float64Array(length)
    this.#motion = new Float64Array(length)
  }

  /** Adds joints that have changed places. `state` is in training joint space, `at` in milliseconds of a clock that never goes back. */
  see(state: Float64Array, at: number, findings: GuardFinding[]): void {
    const last = this.#last
    this.#last = { state, at }
    if (!last || !this.#answered || at - last.at > COMPARED_MS) return
    this.#answered = false
    for (let i = 0; i < this.#motion.length; i += 1) {
      const { index, stateRange } = this.#joints[i]!
      this.#motion[i] = (state[index]! - last.state[index]!) / stateRange
    }
    this.#learn(this.#motion)
    if (this.#count >= LEAST_MOTIONS) this.#swapped(findings)
  }

  /** Takes note of the rows [rows, width] that answer the observation seen last; the robot carries out the first of them. */
  answer(actions: Float64Array, width: number): void {
    const half = Math.ceil(actions.length / width / 2)
    for (let i = 0; i < this.#joints.length; i += 1) {
      const { index, moves, actionRange } = this.#joints[i]!
      let sum = 0
      for (let row = 0; row < half; row += 1) sum += actions[row * width + index]!
      const way = moves === 'by' ? sum : actions[(half - 1) * width + index]! - actions[index]!
      this.#command[i] = way / actionRange
    }
    this.#answered = true
  }

  /** The robot may stand elsewhere; how it moves is as before. */
  startOver(): void {
    this.#last = undefined
    this.#answered = false
  }

  #learn(motion: Float64Array): void {
    const kept = 1 - FADE
    const { length } = motion
    for (let i = 0; i < length; i += 1) {
      const command = this.#command[i]!
      this.#commands[i] = kept * this.#commands[i]! + command * command
      this.#motions[i] = kept * this.#motions[i]! + motion[i]! * motion[i]!
      for (let j = 0; j < length; j += 1)
        this.#products[i * length + j] = kept * this.#products[i * length + j]! + command * motion[j]!
    }
    this.#count += 1
  }

  /** How far the motion of `j` follows the actions of `i`: their correlation, −1 to 1. */
  #follows(i: number, j: number): number {
    const size = Math.sqrt(this.#commands[i]! * this.#motions[j]!)
    return size > 0 ? this.#products[i * this.#joints.length + j]! / size : 0
  }

  #swapped(findings: GuardFinding[]): void {
    for (let i = 0; i < this.#joints.length; i += 1)
      for (let j = i + 1; j < this.#joints.length; j += 1) {
        const value = (this.#follows(i, j) + this.#follows(j, i)) / 2
        if (value < LIKE_ANOTHER) continue
        const own = (this.#follows(i, i) + this.#follows(j, j)) / 2
        if (value < own + BETTER_BY) continue
        const joint = `${this.#joints[i]!.name} and ${this.#joints[j]!.name}`
        findings.push({ kind: 'joints_swapped', joint, row: null, value, limit: LIKE_ANOTHER })
      }
  }
}
