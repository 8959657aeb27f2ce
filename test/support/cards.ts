import { VirtualClock } from '../../src/capacity/virtual-clock.js'
import { TurboPiError } from '../../src/errors.js'
import { cardSet } from '../../src/runtime/card-set.js'
import type { EngineChange, LaneSpan } from '../../src/runtime/observer.js'
import type { RuntimeInfo } from '../../src/runtime/runtime.js'
import { Dispatcher, type DispatcherOptions } from '../../src/runtime/scheduling/dispatcher.js'
import type { Admission, InferenceResult } from '../../src/runtime/scheduling/ticket.js'
import { ClockedRuntime } from './clocked-runtime.js'

/** How an inference ends: `answered`, or its error's code. */
export const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'answered',
    error => (error instanceof TurboPiError ? error.code : String(error)),
  )

/** Two cards behind one dispatcher, on a clock that the test lets run. */
export function setUp(info: Partial<RuntimeInfo> = {}, options: DispatcherOptions = {}, count = 2) {
  const clock = new VirtualClock()
  const cards = Array.from(
    { length: count },
    (_, card) => new ClockedRuntime(clock, { ...info, cards: [card] }),
  )
  const spans: LaneSpan[] = []
  const changes: EngineChange[] = []
  const dispatcher = new Dispatcher(cardSet(cards), {
    clock,
    watch: { atLeastMs: 500, firstMs: 500 },
    observer: { lane: span => spans.push(span), engine: change => changes.push(change) },
    ...options,
  })
  /** An inference of its own robot; its answer is its token and 1000. */
  const ask = (token: number, admission: Partial<Admission> = {}): Promise<InferenceResult> => {
    const ticket = dispatcher.admit({ session: `robot ${token}`, ...admission })
    const row = { images: [null], tokens: Int32Array.of(token) }
    return dispatcher.submit(ticket, row, { noise: 1000, steps: 2 })
  }
  /** Every card knows how long it takes. */
  const warm = async () => {
    for (let round = 0; round < 3 * count; round++) {
      void ask(0)
      await clock.run(clock.now() + 1000)
    }
    for (const card of cards) card.batches.length = 0
    spans.length = 0
  }
  return {
    clock,
    cards: cards as [ClockedRuntime, ClockedRuntime, ...ClockedRuntime[]],
    dispatcher,
    ask,
    warm,
    spans,
    changes,
  }
}

/** Whether the answers are those of the tokens. */
export const right = (results: readonly InferenceResult[], tokens: readonly number[]) =>
  results.every(({ actions }, at) => actions.every(value => value === 1000 + tokens[at]!))
