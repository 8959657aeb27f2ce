import { byId, html, milliseconds } from './dom.js'
import { pollFigures } from './figures.js'
import type { RobotSettings } from './robot.js'
import { RobotCard } from './robot-card.js'
import { SessionsView } from './sessions.js'
import { TimeChart } from './time-chart.js'

/** What the page needs of GET /metadata. */
interface Metadata {
  policy: string
  observation: { embodiment: string }
  shape: { horizon: number; actionSize: number }
  defaultSteps: number
  runtime: { backend: string; device: string; precision: string } | null
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
const SEEDS_A_ROBOT = 100_000

const metadata = await untilReady()
showFigures()
const isTabletop = metadata.observation.embodiment === 'libero'
const robots: RobotCard[] = []
if (isTabletop) startTabletop()
else setState(true)
new SessionsView({
  embodiment: metadata.observation.embodiment,
  secondary: isTabletop,
  isOwn: session => robots.some(({ robot }) => robot.stream.session === session),
})

/** The server's metadata, once its engine is loaded. */
async function untilReady(): Promise<Metadata> {
  for (;;) {
    const ready = await fetch('readyz').then(
      response => response.ok,
      () => false,
    )
    const found = (await fetch('metadata').then(
      response => response.json(),
      () => undefined,
    )) as Metadata | undefined
    if (found) showPolicy(found)
    if (found && ready) return found
    await new Promise(resolve => setTimeout(resolve, 500))
  }
}

function showPolicy({ policy, runtime, shape }: Metadata): void {
  byId('fact-policy', HTMLElement).textContent = policy
  byId('fact-runtime', HTMLElement).textContent = runtime
    ? `${runtime.backend}, ${runtime.precision}, ${runtime.device}`
    : 'loading'
  byId('fact-chunk', HTMLElement).textContent = `${shape.horizon} × ${shape.actionSize}`
}

function setState(ready: boolean): void {
  const state = byId('server-state', HTMLElement)
  const text = ready ? 'Connected' : 'Connecting'
  if (state.textContent !== text) state.textContent = text
  state.dataset['state'] = ready ? 'ready' : 'waiting'
}

function showFigures(): void {
  const ms = (value: number) => (Number.isNaN(value) ? '–' : milliseconds(value))
  const latency = new TimeChart(byId('latency-chart', HTMLElement), 'Latency (ms)', [
    { label: 'answer', colour: '--curve-1', format: ms },
    { label: 'engine', colour: '--curve-2', format: ms },
    { label: 'waiting', colour: '--curve-3', format: ms },
  ])
  const queue = new TimeChart(byId('queue-chart', HTMLElement), 'Queue', [
    { label: 'answers/s', colour: '--curve-1', format: value => value.toFixed(1) },
    { label: 'jobs waiting', colour: '--curve-3', format: value => value.toFixed(2) },
  ])
  pollFigures(({ answersPerSecond, answerMs, engineMs, waitMs, waiting }) => {
    byId('rate-figure', HTMLElement).textContent = answersPerSecond.toFixed(1)
    byId('answer-figure', HTMLElement).textContent = ms(answerMs)
    byId('queue-figure', HTMLElement).textContent = ms(waitMs)
    latency.add([answerMs, engineMs, waitMs])
    queue.add([answersPerSecond, waiting])
  })
}

function startTabletop(): void {
  if (metadata.policy !== 'tabletop') {
    const notice = byId('notice', HTMLElement)
    notice.hidden = false
    notice.textContent = `“${metadata.policy}” was not trained on this table: the arm moves as the policy says, but do not expect it to succeed. The bundled policy “tabletop” does.`
  }
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches
  const settings: RobotSettings = { denoiseSteps: metadata.defaultSteps, periodMs: 100, running: !calm }
  const host = byId('robots', HTMLElement)
  const seed = byId('seed', HTMLInputElement)
  const ready = new Map<number, boolean>()
  const seedOf = (robot: number) => (seed.valueAsNumber + robot * SEEDS_A_ROBOT) >>> 0

  const add = () => {
    const index = robots.length
    const card = new RobotCard({
      number: index + 1,
      embodiment: metadata.observation.embodiment,
      settings,
      seed: seedOf(index),
      onTally: showTally,
      onState: isReady => {
        ready.set(index, isReady)
        setState([...ready.values()].every(Boolean))
      },
    })
    robots.push(card)
    host.append(card.element)
  }
  const toggleSecond = () => {
    if (robots.length === 1) add()
    else {
      robots.pop()?.close()
      ready.delete(1)
      setState([...ready.values()].every(Boolean))
    }
    byId('second', HTMLButtonElement).setAttribute('aria-pressed', String(robots.length > 1))
    host.dataset['count'] = String(robots.length)
    showTally()
  }
  const setRunning = (running: boolean) => {
    settings.running = running
    byId('pause', HTMLButtonElement).textContent = running ? 'Pause' : 'Go on'
    byId('step', HTMLButtonElement).disabled = running
  }
  const stepAll = () => {
    if (!settings.running) for (const card of robots) void card.robot.step()
  }
  const restart = () => {
    if (!seed.reportValidity()) return
    for (const [index, card] of robots.entries()) card.robot.restart(seedOf(index))
    showTally()
  }
  function showTally(): void {
    const outcomes = robots.flatMap(card => card.robot.outcomes)
    const successes = outcomes.filter(Boolean).length
    byId('success', HTMLElement).textContent =
      outcomes.length > 0 ? `${successes} of ${outcomes.length}` : '–'
  }

  const chooseSteps = offerSteps(settings)
  const rate = byId('rate', HTMLSelectElement)
  rate.addEventListener('change', () => {
    settings.periodMs = Number(rate.value)
  })
  byId('pause', HTMLButtonElement).addEventListener('click', () => setRunning(!settings.running))
  byId('step', HTMLButtonElement).addEventListener('click', stepAll)
  byId('second', HTMLButtonElement).addEventListener('click', toggleSecond)
  byId('seed-form', HTMLFormElement).addEventListener('submit', event => {
    event.preventDefault()
    restart()
  })
  listenToKeys({
    p: () => setRunning(!settings.running),
    n: stepAll,
    r: restart,
    b: toggleSecond,
    ...Object.fromEntries(STEPS.map(([steps, key]) => [key, () => chooseSteps(steps)])),
  })
  for (const id of ['toolbar', 'robots', 'tile-success', 'shortcuts']) byId(id, HTMLElement).hidden = false
  setRunning(settings.running)
  add()
}

/** Buttons for denoise steps; gives what a shortcut calls. */
function offerSteps(settings: RobotSettings): (steps: number) => void {
  const buttons = STEPS.map(([steps, key]) => {
    const button = html('button', String(steps))
    button.type = 'button'
    button.setAttribute('aria-keyshortcuts', key)
    button.setAttribute('aria-label', `${steps} denoise ${steps === 1 ? 'step' : 'steps'}`)
    button.addEventListener('click', () => choose(steps))
    return button
  })
  const choose = (steps: number) => {
    settings.denoiseSteps = steps
    for (const button of buttons)
      button.setAttribute('aria-pressed', String(button.textContent === String(steps)))
  }
  byId('steps', HTMLElement).append(...buttons)
  choose(settings.denoiseSteps)
  return choose
}

/** Single keys, unless they are switched off or meant for a field. */
function listenToKeys(actions: Record<string, () => void>): void {
  const on = byId('shortcuts-on', HTMLInputElement)
  document.addEventListener('keydown', event => {
    if (!on.checked || event.ctrlKey || event.metaKey || event.altKey) return
    if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) return
    const action = actions[event.key.toLowerCase()]
    if (!action) return
    event.preventDefault()
    action()
  })
}
