import { byId, html } from './dom.js'
import type { RobotSettings } from './robot.js'
import { RobotCard } from './robot-card.js'

export interface TabletopOptions {
  policy: string
  defaultSteps: number
  /** Names of the action's dimensions. */
  joints: readonly string[]
  /** Whether every robot has its stream. */
  onStreams(ready: boolean): void
}

/** Denoise steps on offer, each with its key. */
const STEPS: readonly [steps: number, key: string][] = [
  [1, '1'],
  [2, '2'],
  [3, '3'],
  [5, '5'],
  [10, '0'],
]
/** Episodes of different robots do not meet within this many seeds. */
const SEEDS_A_ROBOT = 1000

/** The robots on their tables, and the controls that they share. */
export class TabletopView {
  readonly #options: TabletopOptions
  readonly #robots: RobotCard[] = []
  readonly #settings: RobotSettings
  readonly #seedField = byId('seed', HTMLInputElement)
  readonly #stepButtons: HTMLButtonElement[]
  #seed: number

  constructor(options: TabletopOptions) {
    this.#options = options
    this.#seed = this.#seedField.valueAsNumber
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches
    this.#settings = { denoiseSteps: options.defaultSteps, periodMs: 100, running: !calm }
    this.#stepButtons = STEPS.map(([steps, key]) => this.#stepButton(steps, key))
    byId('steps', HTMLElement).append(...this.#stepButtons)
    this.#chooseSteps(options.defaultSteps)
    this.#setRunning(!calm)
    this.#listen()
    for (const id of ['toolbar', 'robots', 'tile-success', 'shortcuts']) byId(id, HTMLElement).hidden = false
    if (options.policy !== 'tabletop') this.#warn()
    this.#add()
  }

  /** Whether a session of the server is that of a robot here. */
  owns(session: string): boolean {
    return this.#robots.some(({ robot }) => robot.client.session === session)
  }

  #warn(): void {
    const notice = byId('notice', HTMLElement)
    notice.hidden = false
    notice.textContent = `“${this.#options.policy}” was not trained on this table: the arm moves as the policy says, but do not expect it to succeed. The bundled policy “tabletop” does.`
  }

  #stepButton(steps: number, key: string): HTMLButtonElement {
    const button = html('button', String(steps))
    button.type = 'button'
    button.value = String(steps)
    button.setAttribute('aria-keyshortcuts', key)
    button.setAttribute('aria-label', `${steps} denoise ${steps === 1 ? 'step' : 'steps'}`)
    button.addEventListener('click', () => this.#chooseSteps(steps))
    return button
  }

  #listen(): void {
    const rate = byId('rate', HTMLSelectElement)
    rate.addEventListener('change', () => {
      this.#settings.periodMs = Number(rate.value)
    })
    const pause = () => this.#setRunning(!this.#settings.running)
    const step = () => this.#step()
    const restart = () => this.#restart()
    const second = () => this.#toggleSecond()
    byId('pause', HTMLElement).addEventListener('click', pause)
    byId('step', HTMLElement).addEventListener('click', step)
    byId('second', HTMLElement).addEventListener('click', second)
    byId('seed-form', HTMLFormElement).addEventListener('submit', event => {
      event.preventDefault()
      restart()
    })
    const steps = STEPS.map(([steps, key]) => [key, () => this.#chooseSteps(steps)] as const)
    listenToKeys(
      new Map([['p', pause], ['n', step], ['r', restart], ['b', second], ...steps]),
      byId('shortcuts-on', HTMLInputElement),
    )
  }

  #chooseSteps(steps: number): void {
    this.#settings.denoiseSteps = steps
    for (const button of this.#stepButtons)
      button.setAttribute('aria-pressed', String(Number(button.value) === steps))
  }

  #setRunning(running: boolean): void {
    this.#settings.running = running
    byId('pause', HTMLElement).textContent = running ? 'Pause' : 'Go on'
    byId('step', HTMLButtonElement).disabled = running
  }

  #step(): void {
    if (this.#settings.running) return
    for (const { robot } of this.#robots) void robot.step()
  }

  #restart(): void {
    if (!this.#seedField.reportValidity()) return
    this.#seed = this.#seedField.valueAsNumber
    for (const [index, { robot }] of this.#robots.entries()) robot.restart(this.#seedOf(index))
    this.#showTally()
  }

  #add(): void {
    const index = this.#robots.length
    const card = new RobotCard({
      number: index + 1,
      settings: this.#settings,
      seed: this.#seedOf(index),
      joints: this.#options.joints,
      onTally: () => this.#showTally(),
      onState: () => this.#showState(),
    })
    this.#robots.push(card)
    byId('robots', HTMLElement).append(card.element)
    this.#showState()
  }

  #toggleSecond(): void {
    if (this.#robots.length === 1) this.#add()
    else this.#robots.pop()?.close()
    byId('second', HTMLElement).setAttribute('aria-pressed', String(this.#robots.length > 1))
    this.#showState()
    this.#showTally()
  }

  #seedOf(robot: number): number {
    return (this.#seed + robot * SEEDS_A_ROBOT) >>> 0
  }

  #showState(): void {
    this.#options.onStreams(this.#robots.every(({ robot }) => robot.client.ready))
  }

  #showTally(): void {
    const outcomes = this.#robots.flatMap(({ robot }) => robot.outcomes)
    const successes = outcomes.filter(Boolean).length
    byId('success', HTMLElement).textContent =
      outcomes.length > 0 ? `${successes} of ${outcomes.length}` : '–'
  }
}

/** Single keys, unless they are switched off or meant for a field. */
function listenToKeys(actions: ReadonlyMap<string, () => void>, on: HTMLInputElement): void {
  document.addEventListener('keydown', event => {
    if (!on.checked || event.ctrlKey || event.metaKey || event.altKey) return
    const { target } = event
    if (target instanceof HTMLSelectElement) return
    if (target instanceof HTMLInputElement && target.type !== 'checkbox') return
    const action = actions.get(event.key.toLowerCase())
    if (!action) return
    event.preventDefault()
    action()
  })
}
