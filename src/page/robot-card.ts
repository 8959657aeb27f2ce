import { EPISODE_STEPS } from '../tabletop/episode.js'
import { promptOf, SUITE, TASKS, type Task } from '../tabletop/tasks.js'
import { ChunkPlot } from './chunk-plot.js'
import { copyOf, html, milliseconds, part } from './dom.js'
import { showFindings } from './findings.js'
import { show } from './images.js'
import { PlanOverlay } from './plan.js'
import { REPLAN_AFTER, Robot, type RobotSettings } from './robot.js'
import { openStream } from './server.js'

/** Round trips that the percentiles are taken of. */
const REMEMBERED_TRIPS = 200
const RECENT_OUTCOMES = 10

export interface RobotCardOptions {
  /** Shown: "Robot 1". */
  number: number
  settings: RobotSettings
  seed: number
  /** Names of the action's dimensions. */
  joints: readonly string[]
  /** The tally of a robot has changed. */
  onTally(): void
  /** Its stream has become ready, or has been lost. */
  onState(): void
}

const suiteInTurn = (episode: number): Task => SUITE[episode % SUITE.length]!

/** One robot on the page: its cameras, its plan, its figures. */
export class RobotCard {
  readonly element = copyOf('robot-template')
  readonly robot: Robot
  readonly #base = part(this.element, 'base', HTMLCanvasElement)
  readonly #wrist = part(this.element, 'wrist', HTMLCanvasElement)
  readonly #plan = new PlanOverlay(part(this.element, 'path', SVGSVGElement))
  readonly #chunk: ChunkPlot
  readonly #trips: number[] = []

  constructor({ number, settings, seed, joints, onTally, onState }: RobotCardOptions) {
    const name = `Robot ${number}`
    this.element.setAttribute('aria-label', name)
    this.#text('title', name)
    this.#chunk = new ChunkPlot(part(this.element, 'chunk', HTMLElement), joints)
    const client = openStream()
    for (const event of ['ready', 'lost'] as const)
      client.on(event, () => {
        this.element.classList.toggle('stale', event === 'lost')
        onState()
      })
    this.robot = new Robot(
      client,
      settings,
      {
        changed: () => this.draw(),
        answered: ({ roundTripMs, guard }) => {
          this.#timed(roundTripMs)
          showFindings(this.element, guard.findings)
        },
        finished: onTally,
      },
      seed,
      suiteInTurn,
    )
    this.#offerTasks()
    this.draw()
  }

  close(): void {
    this.robot.close()
    this.element.remove()
  }

  draw(): void {
    const { episode, observation, plan, chunk, played } = this.robot
    show(this.#base, observation.image)
    show(this.#wrist, observation.wristImage)
    this.#base.setAttribute('aria-label', `Base camera. ${described(this.robot)}`)
    this.#wrist.setAttribute('aria-label', 'Wrist camera, on the gripper')
    this.#plan.draw(plan, played, REPLAN_AFTER)
    this.#chunk.draw(chunk, played, Math.min(REPLAN_AFTER, chunk.length))
    this.#text('prompt', observation.prompt)
    this.#text('seed', String(episode.seed))
    this.#text('step', `${episode.steps} of ${EPISODE_STEPS}`)
    this.#tally()
    this.#outcome()
  }

  #tally(): void {
    const { outcomes } = this.robot
    const dots = outcomes
      .slice(-RECENT_OUTCOMES)
      .map(success => html('i', success ? '✓' : '✕', success ? 'good' : 'bad'))
    for (const dot of dots) dot.setAttribute('aria-hidden', 'true')
    const successes = outcomes.filter(Boolean).length
    const text = outcomes.length === 0 ? 'no episode yet' : `${successes} of ${outcomes.length}`
    part(this.element, 'tally', HTMLElement).replaceChildren(...dots, html('span', text))
  }

  #timed(roundTripMs: number): void {
    this.#trips.push(roundTripMs)
    if (this.#trips.length > REMEMBERED_TRIPS) this.#trips.shift()
    const sorted = this.#trips.toSorted((a, b) => a - b)
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!
    this.#text('trip', milliseconds(roundTripMs))
    this.#text('median', milliseconds(at(0.5)))
    this.#text('tail', milliseconds(at(0.99)))
  }

  #offerTasks(): void {
    const select = part(this.element, 'task', HTMLSelectElement)
    select.append(new Option('the ten of the suite in turn', ''))
    for (const [at, task] of TASKS.entries()) select.append(new Option(promptOf(task), String(at)))
    select.addEventListener('change', () => {
      const task = select.value === '' ? undefined : TASKS[Number(select.value)]
      this.robot.choose(task ? () => task : suiteInTurn)
    })
  }

  /** Of the episode on show. */
  #outcome(): void {
    const { episode, success, trouble } = this.robot
    const done = success ? 'Done' : 'Not done'
    const text =
      trouble?.message ??
      (success === undefined ? '' : `${done} in ${episode.steps} steps: ${promptOf(episode.task)}.`)
    const outcome = part(this.element, 'outcome', HTMLElement)
    outcome.dataset['kind'] = success && !trouble ? 'good' : 'bad'
    // A text that is set anew is read out anew.
    if (outcome.textContent !== text) outcome.textContent = text
  }

  #text(name: string, text: string): void {
    part(this.element, name, HTMLElement).textContent = text
  }
}

/** The table in words, for those who cannot see it. */
function described({ episode }: Robot): string {
  const { blocks, plates, held } = episode.scene
  const things = [
    ...blocks.map(({ colour }) => `${colour} block`),
    ...plates.map(({ colour }) => `${colour} plate`),
  ].join(', ')
  const holding = blocks[held] ? `holds the ${blocks[held].colour} block` : 'is empty'
  return `On the table: ${things}. The gripper ${holding}.`
}
