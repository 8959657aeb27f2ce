import type { Metadata } from '../contract/page.js'
import { byId, milliseconds } from './dom.js'
import { pollFigures } from './figures.js'
import { showHeld } from './findings.js'
import { get, giveKey } from './server.js'
import { SessionsView } from './sessions.js'
import { TabletopView } from './tabletop-view.js'
import { TimeChart } from './time-chart.js'

/** Between two looks at the robots that are held. */
const HELD_MS = 2000

const { policy, observation, defaultSteps, joints } = await untilReady()
byId('columns', HTMLElement).hidden = false
showFigures()
const { embodiment } = observation
const tabletop =
  embodiment === 'libero' ? new TabletopView({ policy, defaultSteps, joints, setState }) : undefined
if (!tabletop) setState('Connected')
new SessionsView({
  secondary: tabletop !== undefined,
  isOwn: session => tabletop?.owns(session) ?? false,
})

const watchHeld = () => {
  if (!document.hidden) void showHeld(byId('held-list', HTMLElement))
}
setInterval(watchHeld, HELD_MS)
watchHeld()

/** The server's metadata, once its engine is loaded. */
async function untilReady(): Promise<Metadata> {
  for (;;) {
    const response = await get('metadata')
    if (response?.status === 401) await askForKey()
    else if (response?.ok) {
      const metadata = (await response.json()) as Metadata
      showPolicy(metadata)
      if ((await get('readyz'))?.ok) return metadata
      setState('Loading')
    }
    await new Promise(resolve => setTimeout(resolve, 500))
  }
}

async function askForKey(): Promise<void> {
  const form = byId('key-form', HTMLFormElement)
  const input = byId('key', HTMLInputElement)
  setState('Key needed')
  form.hidden = false
  input.focus()
  await new Promise<void>(resolve => {
    form.addEventListener(
      'submit',
      event => {
        event.preventDefault()
        resolve()
      },
      { once: true },
    )
  })
  const taken = await giveKey(input.value).catch(() => false)
  byId('key-refused', HTMLElement).hidden = taken
  form.hidden = taken
}

function showPolicy({ policy, runtime, shape }: Metadata): void {
  byId('fact-policy', HTMLElement).textContent = policy
  byId('fact-runtime', HTMLElement).textContent = runtime
    ? `${runtime.backend}, ${runtime.precision}, ${runtime.device}`
    : 'loading'
  byId('fact-chunk', HTMLElement).textContent = `${shape.horizon} × ${shape.actionSize}`
}

function setState(text: 'Connected' | 'Connecting' | 'Loading' | 'Key needed'): void {
  const state = byId('server-state', HTMLElement)
  if (state.textContent !== text) state.textContent = text
  state.dataset['state'] = text === 'Connected' ? 'ready' : 'waiting'
}

function showFigures(): void {
  const decimal = (value: number) => (Number.isNaN(value) ? '–' : value.toFixed(1))
  const ms = (value: number) => (Number.isNaN(value) ? '–' : milliseconds(value))
  const latency = new TimeChart(byId('latency-chart', HTMLElement), 'Latency (ms)', [
    { label: 'answer', colour: '--curve-1', format: decimal },
    { label: 'engine', colour: '--curve-2', format: decimal },
    { label: 'waiting', colour: '--curve-3', format: decimal },
  ])
  const queue = new TimeChart(byId('queue-chart', HTMLElement), 'Queue', [
    { label: 'answers/s', colour: '--curve-1', format: decimal },
    { label: 'jobs waiting', colour: '--curve-3', format: value => value.toFixed(2) },
  ])
  pollFigures(({ answersPerSecond, answerMs, engineMs, waitMs, waiting }) => {
    byId('rate-figure', HTMLElement).textContent = decimal(answersPerSecond)
    byId('answer-figure', HTMLElement).textContent = ms(answerMs)
    byId('queue-figure', HTMLElement).textContent = ms(waitMs)
    latency.add([answerMs, engineMs, waitMs])
    queue.add([answersPerSecond, waiting])
  })
}
