import t from 'tap'
import { VirtualClock } from '../../../src/capacity/virtual-clock.js'
import { TurboPiError } from '../../../src/errors.js'
import { cardSet, openCards } from '../../../src/runtime/card-set.js'
import type { Runtime } from '../../../src/runtime/runtime.js'
import { right, setUp } from '../../support/cards.js'
import { ClockedRuntime } from '../../support/clocked-runtime.js'

t.test('each card has its own batches, and both compute at the same time', async t => {
  const { clock, cards, ask, warm, spans } = setUp({ maxBatch: 2 })
  await warm()
  const tokens = [1, 2, 3, 4, 5, 6]
  const answers = Promise.all(tokens.map(token => ask(token)))
  const start = clock.now()
  await clock.run(start + 1000)
  const results = await answers
  t.ok(right(results, tokens))
  t.equal(cards[0].batches.flat().length + cards[1].batches.flat().length, 6)
  t.ok(
    cards.every(({ batches }) => batches.length >= 1),
    'both took some',
  )
  const took = Math.max(...spans.map(({ end }) => end)) - start
  t.ok(took <= 2 * 42, `four batches in ${took} ms, two at a time`)
  t.same(new Set(spans.map(({ device }) => device)), new Set([0, 1]))
  t.same(
    new Set(results.map(({ place }) => place.device)),
    new Set([0, 1]),
    'an answer says where it was computed',
  )
})

t.test('a prefix never leaves its card, and lanes of two cards overlap', async t => {
  const { clock, cards, ask, warm } = setUp({ maxBatch: 4, lanes: 2, prefixSlots: 2 })
  await warm()
  const tokens = Array.from({ length: 60 }, (_, i) => i + 1)
  const answers = Promise.all(tokens.map(token => ask(token)))
  await clock.run(clock.now() + 5000)
  t.ok(right(await answers, tokens))
  for (const card of cards) t.equal(card.prefixes, 0, 'no slot is lost')
})

t.test('sessions are not pinned: one robot is answered by whichever card is free', async t => {
  const { clock, cards, ask, warm } = setUp()
  await warm()
  const answers = Promise.all([1, 2, 3, 4].map(token => ask(token, { session: 'one robot' })))
  await clock.run(clock.now() + 1000)
  await answers
  t.same(
    cards.map(({ batches }) => batches.length),
    [2, 2],
  )
})

t.test(
  'a batch goes where its answer is expected first, and waits for a fast card rather than take a slow one',
  async t => {
    const { clock, cards, ask, warm } = setUp()
    const [fast, slow] = cards
    slow.perceiveMs = 100
    slow.actMs = 300
    await warm()
    const answers = Promise.all([1, 2, 3, 4, 5].map(token => ask(token)))
    await clock.run(clock.now() + 2000)
    await answers
    t.equal(fast.batches.length, 5, 'five in 200 ms, before the slow one would have had its first')
    t.equal(slow.batches.length, 0)

    const many = Promise.all(Array.from({ length: 30 }, (_, i) => ask(i + 10)))
    await clock.run(clock.now() + 2000)
    await many
    t.ok(slow.batches.length >= 1 || fast.batches.length === 35, 'nobody is left behind')
  },
)

t.test('a card that has become slow is used less, and found again when it is well', async t => {
  const { clock, cards, ask, warm } = setUp()
  const [, second] = cards
  await warm()
  second.actMs = 500
  const load = async (from: number, seconds: number) => {
    for (const card of cards) card.batches.length = 0
    for (let i = 0; i < 20 * seconds; i++) {
      void ask(from + i).catch(() => {})
      await clock.run(clock.now() + 50)
    }
    await clock.run(clock.now() + 2000)
    return cards.map(({ batches }) => batches.length)
  }
  const [first, slowed] = (await load(1000, 20)) as [number, number]
  t.ok(first > 5 * slowed, `${first} and ${slowed} batches`)
  second.actMs = 30
  await clock.run(clock.now() + 11_000)
  for (const card of cards) card.batches.length = 0
  const both = Array.from({ length: 40 }, (_, i) => ask(5000 + i))
  await clock.run(clock.now() + 3000)
  await Promise.all(both)
  const shares = cards.map(({ batches }) => batches.length)
  t.ok(Math.min(...shares) >= 15, `${shares} batches`)
})

t.test('a stop lets both cards finish, what is tried again too, and closes both', async t => {
  const { clock, cards, ask, warm, dispatcher } = setUp()
  await warm()
  cards[1].failure = new TurboPiError('RUNTIME_FAILED', 'broken')
  const tokens = [1, 2, 3, 4]
  const answers = Promise.all(tokens.map(token => ask(token)))
  const closed = dispatcher.close()
  await clock.run(clock.now() + 2000)
  t.ok(right(await answers, tokens))
  await closed
  t.ok(cards.every(card => card.closed))
})

t.test('one card behaves as if there were no set of cards', t => {
  const clock = new VirtualClock()
  const card = new ClockedRuntime(clock, { cards: [0] })
  t.equal(cardSet([card]), card)
  const set = cardSet([card, new ClockedRuntime(clock, { cards: [1] })])
  t.match(set.info, { cards: [0, 1], device: '2 × a card', maxBatch: 1 })
  t.end()
})

t.test('when one card cannot be opened, the others are closed again', async t => {
  const clock = new VirtualClock()
  const opened: ClockedRuntime[] = []
  const open = async (device: number): Promise<Runtime> => {
    if (device === 1) throw new TurboPiError('RUNTIME_FAILED', 'no memory on GPU 1')
    const card = new ClockedRuntime(clock, { cards: [device] })
    opened.push(card)
    return card
  }
  await t.rejects(openCards([0, 1, 2], open), { message: 'no memory on GPU 1' })
  t.same(
    opened.map(({ closed }) => closed),
    [true, true],
  )
})
