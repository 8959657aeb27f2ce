import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { Turns } from '../../src/routes/event-loop-turns.js'

t.test(
  'eight observations are taken up in a turn of the event loop, in the order in which they came',
  async t => {
    const turns = new Turns()
    const gone: number[] = []
    for (let client = 0; client < 20; client += 1) void turns.next().then(() => gone.push(client))
    await Promise.resolve()
    t.same(gone, [], 'none goes in the turn in which it came')
    for (const count of [8, 16, 20]) {
      await nextTurn()
      t.same(
        gone,
        Array.from({ length: count }, (_, client) => client),
      )
    }
  },
)

t.test('who comes again while others wait goes after them', async t => {
  const turns = new Turns()
  const gone: string[] = []
  const wait = (name: string) => turns.next().then(() => gone.push(name))
  void wait('first').then(() => wait('first again'))
  for (let other = 0; other < 8; other += 1) void wait('another')
  for (let turn = 0; turn < 2; turn += 1) await nextTurn()
  t.same(gone, ['first', ...Array(8).fill('another'), 'first again'])
})
