import {
  type ActionChunk,
  ChunkExecutor,
  type ClientObservation,
  type ObserveOptions,
  rgbImage,
  type Strategy,
  type TurboPiClient,
} from '../../client/index.js'
import { NdArray } from '../../contract/numpy.js'
import { IMAGE_SIZE } from '../../tabletop/drawing.js'
import { Episode, noiseSeed } from '../../tabletop/episode.js'
import { Random } from '../../tabletop/random.js'
import { ACTION_SIZE } from '../../tabletop/scene.js'
import { SUITE } from '../../tabletop/tasks.js'

/** Stream of an episode's seed for the delays; 1 and the steps from 2 on are the episode's own. */
const DELAYS = 0x100000

export interface Delay {
  /** Milliseconds from asking to the answer, uniform in ms ± jitterMs. */
  ms: number
  jitterMs: number
}

export interface MotionSetup {
  strategy: Strategy
  delay: Delay
  hertz: number
  /** Denoise steps. */
  numSteps: number
}

export interface MotionResult {
  success: boolean
  /** Ticks without an action after the first chunk. */
  pauses: number
  /** Distance in table units between the first action of a chunk and the one before it. */
  seams: number[]
  /** The same between two actions of one chunk. */
  steps: number[]
}

/** Moves that are not the gripper's: it opens and closes at once, wherever the seam is. */
const jumpOf = (a: readonly number[], b: readonly number[]) =>
  Math.hypot(...a.slice(0, ACTION_SIZE - 1).map((value, dim) => value - b[dim]!))

/**
 * One episode on the tabletop in simulated time: a tick is a control step, whatever the machine takes, and an answer comes
 * when its drawn delay has passed. The real server answers; only the delay is made up.
 */
export async function runMotion(
  client: TurboPiClient,
  setup: MotionSetup,
  index: number,
  seed: number,
): Promise<MotionResult> {
  const { strategy, delay, hertz, numSteps } = setup
  const episode = new Episode(seed + index, SUITE[index % SUITE.length]!)
  const random = new Random(seed + index, DELAYS)
  const network = new SlowNetwork(client, () => Math.max(0, delay.ms + random.range(-1, 1) * delay.jitterMs))
  const executor = new ChunkExecutor(network, {
    strategy,
    hertz,
    now: () => network.now,
    // A standing gripper keeps what it holds.
    starvation: last => [0, 0, 0, 0, 0, 0, last[ACTION_SIZE - 1]!],
    observe: () => ({ numSteps, seed: noiseSeed(episode.seed, episode.steps) }),
    continuous: [true, true, true, true, true, true, false],
  })
  let failure: Error | undefined
  executor.on('failed', ({ error }) => {
    failure = error
  })
  const result: MotionResult = { success: false, pauses: 0, seams: [], steps: [] }
  let last: readonly number[] | undefined
  for (let tick = 0; !episode.done; tick += 1) {
    await network.advance((tick * 1000) / hertz)
    let { action, from } = executor.tick(() => observationOf(episode))
    if (!isAction(from)) {
      // An answer without delay is there within the tick.
      await network.advance((tick * 1000) / hertz)
      if (failure) throw failure
      ;({ action, from } = executor.tick(() => observationOf(episode)))
    }
    if (from === 'starved') result.pauses += 1
    if (last && action && isAction(from))
      (from === 'seam' ? result.seams : result.steps).push(jumpOf(action, last))
    last = action ?? last
    if (action) episode.step(action.slice(0, ACTION_SIZE))
  }
  await network.settle()
  return { ...result, success: episode.success }
}

const isAction = (from: string) => from === 'chunk' || from === 'seam'

function observationOf(episode: Episode): ClientObservation {
  const { image, wristImage, state, prompt } = episode.observe()
  return {
    'observation/image': rgbImage(image, IMAGE_SIZE, IMAGE_SIZE),
    'observation/wrist_image': rgbImage(wristImage, IMAGE_SIZE, IMAGE_SIZE),
    'observation/state': new NdArray('<f8', [state.length], new Uint8Array(state.buffer)),
    prompt,
  }
}

/** Hands answers on when their delay has passed in simulated time. */
class SlowNetwork {
  now = 0
  #underway: { due: number; answer: Promise<ActionChunk>; deliver(): void } | undefined

  constructor(
    private readonly client: TurboPiClient,
    private readonly drawDelay: () => number,
  ) {}

  get session(): string | undefined {
    return this.client.session
  }

  async infer(observation: ClientObservation, options: ObserveOptions): Promise<ActionChunk> {
    const answer = this.client.infer(observation, options)
    answer.catch(() => {})
    const due = this.now + this.drawDelay()
    await new Promise<void>(deliver => {
      this.#underway = { due, answer, deliver }
    })
    return answer
  }

  /** Simulated time goes on to `now`: what is due by then has been delivered. */
  async advance(now: number): Promise<void> {
    const underway = this.#underway
    if (underway && underway.due <= now) {
      this.now = underway.due
      await this.settle()
    }
    this.now = now
  }

  /** Delivers what is on its way. */
  async settle(): Promise<void> {
    const underway = this.#underway
    if (!underway) return
    this.#underway = undefined
    await underway.answer.catch(() => {})
    underway.deliver()
    await new Promise(resolve => setImmediate(resolve))
  }
}
