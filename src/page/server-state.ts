import { byId } from './dom.js'
import { link } from './link.js'

/** How far the server is; `reconnecting`: it answers, but not every robot of this page has its stream. */
type Phase = 'connecting' | 'loading' | 'reconnecting' | 'ready'

const PHASES = {
  connecting: 'Connecting',
  loading: 'Loading',
  reconnecting: 'Connecting',
  ready: 'Connected',
} as const satisfies Record<Phase, string>
const LINKS = { lost: 'Link lost', locked: 'Key needed', limited: 'Rate limit reached' } as const

let phase: Phase = 'connecting'

/** Shows in one word how the page stands with its server, and greys what may no longer be so. */
export function setPhase(next: Phase): void {
  phase = next
  showState()
}

export function showState(): void {
  const { state, heardAt } = link
  const text =
    state === 'up' || (state === 'lost' && phase === 'connecting')
      ? PHASES[phase]
      : LINKS[state as keyof typeof LINKS]
  const shown = byId('server-state', HTMLElement)
  if (shown.textContent !== text) shown.textContent = text
  shown.dataset['state'] = text === PHASES.ready ? 'ready' : 'waiting'
  document.body.dataset['link'] = state
  const notice = byId('link-notice', HTMLElement)
  notice.hidden = state !== 'lost' || phase === 'connecting' || !heardAt
  notice.textContent = `Nothing is heard from the server since ${heardAt?.toLocaleTimeString()}. What is grey is from then.`
}
