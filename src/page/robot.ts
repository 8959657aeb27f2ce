import {
  type ActionChunk,
  type BrowserClient,
  type ClientObservation,
  ConnectionError,
  rgbImage,
} from '../client/browser.js'
import { IMAGE_SIZE } from '../tabletop/drawing.js'
import { Episode, noiseSeed, type TabletopObservation } from '../tabletop/episode.js'
import { applyAction, cloneScene } from '../tabletop/scene.js'
import type { Task } from '../tabletop/tasks.js'

/** Actions of a chunk that are played before the next one is asked for. */
export const REPLAN_AFTER = 5
/** How long a finished episode stays on show. */
const SHOW_RESULT_MS = 900

/** A point of the way that a chunk foresees for the gripper. */
export interface PlannedPoint {
  x: number
  y: number
  z: number
  closed: boolean
}

/** What all robots of the page share; read anew for each action. */
export interface RobotSettings {
  denoiseSteps: number
  /** From one action to the next, in milliseconds. */
  periodMs: number
  running: boolean
}

export interface RobotEvents {
  /** The table, the chunk or the tally has changed. */
  changed(): void
  answered(chunk: ActionChunk): void
  /** An episode has ended. */
  finished(): void
}

/** A table of its own, and the policy at work on it through a stream of its own. */
export class Robot {
  episode: Episode
  observation: TabletopObservation
  chunk: readonly number[][] = []
  plan: readonly PlannedPoint[] = []
  /** Actions of the chunk that have been played. */
  played = 0
  /** How the episode on show ended; undefined while it goes on. */
  success: boolean | undefined
  /** Why the policy could not answer in the episode on show; undefined when it last could. */
  trouble: Error | undefined
  /** One entry a finished episode. */
  readonly outcomes: boolean[] = []
  #episodes = 0
  #busy = false
  #closed = false

  constructor(
    readonly client: BrowserClient,
    private readonly settings: RobotSettings,
    private readonly events: RobotEvents,
    private seed: number,
    private taskOf: (episode: number) => Task,
  ) {
    this.episode = new Episode(seed, taskOf(0))
    this.observation = this.episode.observe()
    void this.#run()
  }

  /** Forgets the tally and starts at the first episode of a seed. */
  restart(seed: number): void {
    this.seed = seed
    this.outcomes.length = 0
    this.#begin(0)
  }

  /** Goes on with another choice of tasks, from a fresh table. */
  choose(taskOf: (episode: number) => Task): void {
    this.taskOf = taskOf
    this.#begin(this.#episodes + 1)
  }

  /** One action, for a paused robot. */
  async step(): Promise<void> {
    if (this.#busy) return
    this.#busy = true
    const { episode } = this
    try {
      await this.#advance()
      this.#troubled(episode, undefined)
    } catch (error) {
      this.#troubled(episode, error as Error)
      // A lost stream reconnects by itself; for anything else a moment's rest is due.
      if (!(error instanceof ConnectionError)) await sleep(1500)
    } finally {
      this.#busy = false
    }
  }

  close(): void {
    this.#closed = true
    void this.client.close()
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      const start = performance.now()
      if (this.settings.running && !document.hidden) {
        await this.step()
        const rest = this.settings.periodMs - (performance.now() - start)
        await sleep(this.episode.done ? SHOW_RESULT_MS : Math.max(0, rest))
      } else await sleep(50)
    }
  }

  async #advance(): Promise<void> {
    if (this.episode.done) return this.#begin(this.#episodes + 1)
    const { episode } = this
    if (this.played >= Math.min(REPLAN_AFTER, this.chunk.length)) {
      const answer = await this.client.infer(messageOf(this.observation), {
        numSteps: this.settings.denoiseSteps,
        // As `turbo-pi eval` does, so that an episode runs here as it runs there.
        seed: noiseSeed(episode.seed, episode.steps),
      })
      if (this.#closed || episode !== this.episode) return
      this.chunk = answer.actions
      this.plan = foresee(episode, answer.actions)
      this.played = 0
      this.events.answered(answer)
    }
    const { done, success } = episode.step(this.chunk[this.played]!)
    this.played += 1
    this.observation = episode.observe()
    if (done) {
      this.success = success
      this.outcomes.push(success)
      this.events.finished()
    }
    this.events.changed()
  }

  /** What comes late of an episode before says nothing of the one on show. */
  #troubled(episode: Episode, error: Error | undefined): void {
    if (episode !== this.episode || error === this.trouble) return
    this.trouble = error
    this.events.changed()
  }

  #begin(number: number): void {
    this.#episodes = number
    this.episode = new Episode((this.seed + number) >>> 0, this.taskOf(number))
    this.observation = this.episode.observe()
    this.chunk = []
    this.plan = []
    this.played = 0
    this.success = undefined
    this.trouble = undefined
    this.events.changed()
  }
}

/** Where the gripper goes if the whole chunk is played from here. */
function foresee(episode: Episode, actions: readonly number[][]): PlannedPoint[] {
  const scene = cloneScene(episode.scene)
  const points = [{ ...scene.gripper }]
  for (const action of actions) {
    applyAction(scene, action)
    points.push({ ...scene.gripper })
  }
  return points
}

/** LIBERO's observation. Raw pixels: any lossy encoding would change what the policy sees. */
function messageOf({ image, wristImage, state, prompt }: TabletopObservation): ClientObservation {
  return {
    'observation/image': rgbImage(image, IMAGE_SIZE, IMAGE_SIZE),
    'observation/wrist_image': rgbImage(wristImage, IMAGE_SIZE, IMAGE_SIZE),
    'observation/state': Array.from(state),
    prompt,
  }
}

const sleep = (ms: number) => new Promise(resolve => setTimeout(resolve, ms))
