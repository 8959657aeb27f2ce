import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { Turns } from '../../src/routes/turns.js'

t.test(
  'what finds no room in a turn of the event loop gets one of the next, in the order in which it came',
  async t => {
    const turns = new Turns()
    const gone: number[] = []
    for (let client = 0; client < 20; client += 1) {
      if (turns.take(() => gone.push(client))) gone.push(client)
    }
    const upTo = (count: number) => Array.from({ length: count }, (_, client) => client)
    t.same(gone, upTo(8))
    await nextTurn()
    t.same(gone, upTo(16))
    await nextTurn()
    t.same(gone, upTo(20))
  },
)

t.test('a turn that had room for all leaves the next one as much', async t => {
  const turns = new Turns()
  for (let turn = 0; turn < 3; turn += 1) {
    for (let client = 0; client < 8; client += 1) t.ok(turns.take(() => t.fail('was told to go on at once')))
    await nextTurn()
  }
})
