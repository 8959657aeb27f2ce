import type { Metadata } from '../contract/page.js'
import { byId, milliseconds } from './dom.js'
import { pollFigures } from './figures.js'
import { watchFleet } from './fleet.js'
import { askForKey } from './key-form.js'
import { link } from './link.js'
import { ObservationForm } from './observation-form.js'
import { get } from './server.js'
import { setPhase, showState } from './server-state.js'
import { SessionsView } from './sessions.js'
import { TabletopView } from './tabletop-view.js'
import { TimeChart } from './time-chart.js'

link.onChange(showState)
const metadata = await untilReady()
const { policy, observation, defaultSteps, joints } = metadata
byId('columns', HTMLElement).hidden = false
showFigures()
const tabletop =
  observation.embodiment === 'libero'
    ? new TabletopView({
        policy,
        defaultSteps,
        joints,
        onStreams: ready => setPhase(ready ? 'ready' : 'reconnecting'),
      })
    : undefined
if (!tabletop) setPhase('ready')
new SessionsView({
  secondary: tabletop !== undefined,
  isOwn: session => tabletop?.owns(session) ?? false,
})
watchFleet()
new ObservationForm(metadata)
link.onChange(() => {
  if (link.state === 'locked') void askForKey()
  if (link.state === 'up') void lookAgain()
})

/** The server's metadata, once its engine is loaded. */
async function untilReady(): Promise<Metadata> {
  for (;;) {
    const response = await get('metadata')
    if (response?.status === 401) {
      await askForKey()
      continue
    }
    if (response?.ok) {
      const metadata = (await response.json()) as Metadata
      showPolicy(metadata)
      if ((await get('readyz'))?.ok) return metadata
      setPhase('loading')
    }
    await new Promise(resolve => setTimeout(resolve, 500))
  }
}

/** A server that comes back may serve another policy. */
async function lookAgain(): Promise<void> {
  const response = await get('metadata')
  if (!response?.ok) return
  const now = (await response.json()) as Metadata
  const shown = ({ policy, observation, shape, joints }: Metadata) =>
    JSON.stringify([policy, observation, shape, joints])
  if (shown(now) === shown(metadata)) showPolicy(now)
  else location.reload()
}

function showPolicy({ policy, runtime, shape }: Metadata): void {
  byId('fact-policy', HTMLElement).textContent = policy
  byId('fact-runtime', HTMLElement).textContent = runtime
    ? `${runtime.backend}, ${runtime.precision}, ${runtime.device}`
    : 'loading'
  byId('fact-chunk', HTMLElement).textContent = `${shape.horizon} × ${shape.actionSize}`
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
