import type { Sampling } from '../families/pi0/sampling.js'
import type { ActResult, PerceiveRow, Prefix, RunOptions, Runtime, RuntimeInfo } from './runtime.js'

/**
 * The same network on several cards. A dispatcher gives each its own batches; whoever computes by itself (bench, verify, the
 * gate) has the first one.
 */
class CardSet implements Runtime {
  readonly info: RuntimeInfo

  constructor(readonly cards: readonly [Runtime, ...Runtime[]]) {
    const [{ info }] = cards
    const names = [...new Set(cards.map(card => card.info.device))]
    const device = names.length === 1 ? `${cards.length} × ${info.device}` : names.join('; ')
    this.info = { ...info, device, cards: cards.flatMap(card => card.info.cards ?? []) }
  }

  perceive(rows: readonly PerceiveRow[], options?: RunOptions): Promise<Prefix> {
    return this.cards[0].perceive(rows, options)
  }

  act(prefixes: readonly Prefix[], sampling: readonly Sampling[], options?: RunOptions): Promise<ActResult> {
    return this.cards[0].act(prefixes, sampling, options)
  }

  trace(rows: readonly PerceiveRow[], sampling: readonly Sampling[]): ReturnType<Runtime['trace']> {
    return this.cards[0].trace(rows, sampling)
  }

  async close(): Promise<void> {
    const ended = await Promise.allSettled(this.cards.map(card => card.close()))
    for (const end of ended) if (end.status === 'rejected') throw end.reason
  }
}

/** One runtime over all cards; of one card, its own. */
export function cardSet(cards: readonly Runtime[]): Runtime {
  const [first, ...others] = cards
  return first && others.length > 0 ? new CardSet([first, ...others]) : first!
}

/** Opens one card after another is asked for, all at once. When one cannot be had, the others are closed again. */
export async function openCards(
  devices: readonly number[],
  open: (device: number) => Promise<Runtime>,
): Promise<Runtime> {
  const opened = await Promise.allSettled(devices.map(open))
  const failed = opened.find(one => one.status === 'rejected')
  const cards = opened.flatMap(one => (one.status === 'fulfilled' ? [one.value] : []))
  if (!failed) return cardSet(cards)
  await Promise.allSettled(cards.map(card => card.close()))
  throw failed.reason
}
