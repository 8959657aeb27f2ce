import { loadAddon } from '../../runtime/gpu/addon.js'
import { CardWatch } from '../../runtime/gpu/card-watch.js'
import { CardMetrics } from '../../service/card-metrics.js'
import { CardWarnings } from '../../service/card-warnings.js'
import type { Served } from '../../service/served.js'

export interface WatchedCards {
  readonly metrics: CardMetrics
  /** To be called once the engines are there. */
  begin(): void
  stop(): void
}

/** What the cards are at, for /metrics and the log; undefined where none can compute. */
export function configuredCards(
  backend: string,
  policies: readonly Served[],
  say: { notice: (line: string) => void; warn: (line: string) => void },
  addon = loadAddon(),
): WatchedCards | undefined {
  if (backend === 'cpu' || 'reason' in addon) return undefined
  const warnings = new CardWarnings(say.warn)
  const watch = new CardWatch({
    read: async devices => addon.readCards(devices),
    onRead: cards => warnings.hear(cards),
    onNotice: say.notice,
  })
  return {
    metrics: new CardMetrics(() => watch.cards),
    begin: () => watch.begin(cardsOf(policies)),
    stop: () => watch.stop(),
  }
}

const cardsOf = (policies: readonly Served[]): number[] => [
  ...new Set(policies.flatMap(({ current }) => current.service.metadata().runtime?.cards ?? [])),
]
