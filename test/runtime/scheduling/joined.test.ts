import t from 'tap'
import { CALLER_LEFT } from '../../../src/cancellation.js'
import { VirtualClock } from '../../../src/capacity/virtual-clock.js'
import { TurboPiError } from '../../../src/errors.js'
import { cardSet } from '../../../src/runtime/card-set.js'
import type { EngineChange, LaneSpan } from '../../../src/runtime/observer.js'
import type { RuntimeInfo } from '../../../src/runtime/runtime.js'
import { Dispatcher } from '../../../src/runtime/scheduling/dispatcher.js'
import type { InferenceResult, Ticket } from '../../../src/runtime/scheduling/ticket.js'
import { ClockedRuntime } from '../../support/clocked-runtime.js'

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'answered',
    error => (error instanceof TurboPiError ? error.code : String(error)),
  )

/** Cards that perceive a row in 10 ms and denoise for 100, whose prefixes an act call joins. */
function setUp(info: Partial<RuntimeInfo> = {}, count = 1) {
  const clock = new VirtualClock()
  const cards = Array.from({ length: count }, (_, card) => {
    const sizes = { maxBatch: 4, lanes: 2, prefixSlots: 4, joins: true } as const
    const runtime = new ClockedRuntime(clock, { ...sizes, ...info, cards: [card] })
    runtime.actMs = 100
    runtime.rowMs = 0
    return runtime
  })
  const spans: LaneSpan[] = []
  const changes: EngineChange[] = []
  const shrunk: (number | undefined)[][] = []
  const dispatcher = new Dispatcher(cardSet(cards), {
    clock,
    watch: { atLeastMs: 500, firstMs: 500 },
    observer: {
      lane: span => spans.push(span),
      engine: change => changes.push(change),
      shrunk: (...told) => shrunk.push(told),
    },
  })
  /** An observation that comes `ms` from now, of its own robot; its answer is its token and 1000. */
  const at = (ms: number, token: number, steps = 2) => {
    let ticket: Ticket | undefined
    const answer = new Promise<InferenceResult>((resolve, reject) => {
      clock.after(ms, () => {
        ticket = dispatcher.admit({ session: `robot ${token}` })
        const row = { images: [null], tokens: Int32Array.of(token) }
        dispatcher.submit(ticket, row, { noise: 1000, steps }).then(resolve, reject)
      })
    })
    return { answer, leave: () => dispatcher.leave(ticket!, CALLER_LEFT) }
  }
  const [card] = cards as [ClockedRuntime, ...ClockedRuntime[]]
  return { clock, card, cards, dispatcher, at, spans, changes, shrunk }
}

const right = (results: readonly InferenceResult[], tokens: readonly number[]) =>
  results.every(({ actions }, at) => [...actions].every(value => value === 1000 + tokens[at]!))

t.test(
  'what was perceived while the act lane was busy is denoised in one call, each row for its own',
  async t => {
    const { clock, card, at, spans } = setUp()
    const tokens = [1, 2, 3, 4]
    const asked = tokens.map(token => at(12 * token, token))
    await clock.run(500)
    const results = await Promise.all(asked.map(({ answer }) => answer))
    t.ok(right(results, tokens))
    t.same(card.batches, [[1], [2], [3], [4]], 'perceived one after the other, as they came')
    t.same(card.acts, [[1], [2, 3, 4]])
    t.equal(card.prefixes, 0, 'no slot is lost')
    const acts = spans.filter(({ lane }) => lane === 'act')
    t.match(acts, [
      { batch: 0, rows: 1, start: 22, end: 122 },
      { batch: 1, rows: 3, start: 122, end: 222 },
    ])
    t.match(
      results.map(({ timing }) => timing.queueMs),
      // Perceived at 22, 34, 46 and 58; those after the first waited for the lane until 122.
      [0, 88, 76, 64],
    )
    t.match(results[3]!.place, { batch: 3, row: 0, rows: 1 })
  },
)

t.test('a call has no more than maxBatch rows, and the oldest is always among them', async t => {
  const { clock, card, at } = setUp({ maxBatch: 3 })
  // Two that come together share a batch.
  const asked = [at(0, 1), at(11, 2), at(11, 3), at(22, 4), at(22, 5), at(33, 6)]
  await clock.run(500)
  t.ok(right(await Promise.all(asked.map(({ answer }) => answer)), [1, 2, 3, 4, 5, 6]))
  for (const acted of card.acts) t.ok(acted.length <= 3)
  t.same(card.acts[1]![0], 2)
})

t.test('batches of other step counts wait for a call of their own', async t => {
  const { clock, card, at } = setUp()
  const asked = [at(0, 1), at(12, 2, 2), at(24, 3, 5), at(36, 4, 2)]
  await clock.run(1000)
  t.ok(right(await Promise.all(asked.map(({ answer }) => answer)), [1, 2, 3, 4]))
  t.same(card.acts, [[1], [2, 4], [3]])
})

t.test('a runtime that does not join denoises one batch at a time, two prefixes deep', async t => {
  const { clock, card, at } = setUp({ joins: false })
  const asked = [1, 2, 3, 4].map(token => at(12 * token, token))
  await clock.run(1000)
  t.ok(right(await Promise.all(asked.map(({ answer }) => answer)), [1, 2, 3, 4]))
  t.same(card.acts, [[1], [2], [3, 4]])
})

t.test(
  'a batch that is given up while it waits is left out; one that is in the call goes on for the others',
  async t => {
    const { clock, card, at } = setUp()
    const [first, second, third, fourth] = [at(0, 1), at(12, 2), at(24, 3), at(36, 4)]
    const codes = Promise.all([first, second, third, fourth].map(({ answer }) => codeOf(answer)))
    clock.after(60, second.leave)
    clock.after(150, third.leave)
    await clock.run(500)
    t.same(await codes, ['answered', 'REQUEST_CANCELLED', 'REQUEST_CANCELLED', 'answered'])
    t.same(card.acts, [[1], [3, 4]])
    t.ok(card.signals[1], 'the call has a signal')
    t.notOk(card.signals[1]?.aborted, 'for whom it went on')
    t.equal(card.prefixes, 0)
  },
)

t.test('a call is stopped once nobody waits for any of its batches', async t => {
  const { clock, card, at } = setUp()
  const [first, second, third] = [at(0, 1), at(12, 2), at(24, 3)]
  const codes = Promise.all([first, second, third].map(({ answer }) => codeOf(answer)))
  clock.after(150, second.leave)
  clock.after(160, () => {
    t.notOk(card.signals[1]?.aborted)
    third.leave()
    t.ok(card.signals[1]?.aborted)
  })
  await clock.run(500)
  t.same(await codes, ['answered', 'REQUEST_CANCELLED', 'REQUEST_CANCELLED'])
})

t.test(
  'of two cards the other one does again what a joined call failed at, which counts as one failure',
  async t => {
    const { clock, cards, at, dispatcher, changes } = setUp({ maxBatch: 2 }, 2)
    const tokens = Array.from({ length: 12 }, (_, i) => i + 1)
    const warm = Array.from({ length: 12 }, (_, i) => at(50 * i, 100 + i))
    await clock.run(1500)
    await Promise.all(warm.map(({ answer }) => answer))
    cards[1]!.failure = new TurboPiError('RUNTIME_FAILED', 'the GPU session has failed')
    cards[1]!.faultyLane = 'act'
    const failing = tokens.map(token => at(4 * token, token))
    const start = clock.now()
    await clock.run(start + 1000)
    t.ok(right(await Promise.all(failing.map(({ answer }) => answer)), tokens), 'no accepted answer is lost')
    t.same(dispatcher.engines, { working: 1, of: 2 })
    t.equal(changes.length, 1)
    t.equal(cards[1]!.prefixes, 0)
    cards[1]!.failure = undefined
    const before = cards[1]!.batches.length
    const later = Array.from({ length: 40 }, (_, i) => at(50 * i, 200 + i))
    await clock.run(clock.now() + 2500)
    await Promise.all(later.map(({ answer }) => answer))
    t.ok(cards[1]!.batches.length > before, 'it was tried again after the first rest, of a second')
  },
)

t.test('a card that hangs in a joined call gives up all of its batches to the other', async t => {
  const { clock, cards, at, dispatcher } = setUp({ maxBatch: 2 }, 2)
  cards[1]!.hangs = true
  cards[1]!.faultyLane = 'act'
  const tokens = Array.from({ length: 20 }, (_, i) => i + 1)
  const asked = tokens.map(token => at(4 * token, token))
  await clock.run(20_000)
  t.ok(right(await Promise.all(asked.map(({ answer }) => answer)), tokens))
  t.same(dispatcher.engines, { working: 1, of: 2 })
})

t.test('a joined call that there is no memory for fails, and later ones have half of its rows', async t => {
  const { clock, card, at, shrunk } = setUp({ maxBatch: 8, prefixSlots: 8 })
  card.memoryRows = 3
  const first = at(0, 0)
  const codes = Promise.all([1, 2, 3, 4, 5, 6].map(token => codeOf(at(11 * token, token).answer)))
  await clock.run(500)
  t.equal(await codeOf(first.answer), 'answered')
  t.same(new Set(await codes), new Set(['OUT_OF_MEMORY']))
  t.same(shrunk, [[0, 6, 3]])
  const later = Array.from({ length: 6 }, (_, i) => codeOf(at(11 * i, 10 + i).answer))
  await clock.run(2000)
  t.same(new Set(await Promise.all(later)), new Set(['answered']))
  t.ok(card.acts.slice(2).every(({ length }) => length <= 3))
})
