import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { Turns } from '../../src/routes/turns.js'

t.test(
  'each observation has a turn of the event loop of its own, in the order in which they came',
  async t => {
    const turns = new Turns()
    const gone: number[] = []
    for (let client = 0; client < 3; client += 1) void turns.next().then(() => gone.push(client))
    await Promise.resolve()
    t.same(gone, [], 'none goes in the turn in which it came')
    for (const expected of [[0], [0, 1], [0, 1, 2]]) {
      await nextTurn()
      t.same(gone, expected)
    }
  },
)

t.test('who comes while others wait goes after them', async t => {
  const turns = new Turns()
  const gone: string[] = []
  void turns.next().then(() => {
    gone.push('first')
    void turns.next().then(() => gone.push('first again'))
  })
  void turns.next().then(() => gone.push('second'))
  for (let turn = 0; turn < 3; turn += 1) await nextTurn()
  t.same(gone, ['first', 'second', 'first again'])
})
