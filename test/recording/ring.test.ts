import t from 'tap'
import { Ring } from '../../src/recording/ring.js'
import { WhichRobots } from '../../src/recording/which-robots.js'

const bytes = (length: number, value: number) => new Uint8Array(length).fill(value)

t.test('records come out in order and whole, also around the end of the memory', async t => {
  const ring = Ring.ofSize(64)
  const reader = new Ring(ring.shared)
  for (let round = 0; round < 50; round += 1) {
    t.ok(ring.write([bytes(round % 20, round), bytes(7, 255 - round)]))
    const record = reader.read()!
    t.equal(record.length, (round % 20) + 7)
    t.same(record.subarray(0, round % 20), bytes(round % 20, round))
    t.same(record.subarray(round % 20), bytes(7, 255 - round))
    t.equal(reader.read(), undefined)
  }
})

t.test('a record without room is refused and leaves nothing behind', async t => {
  const ring = Ring.ofSize(64)
  t.ok(ring.write([bytes(40, 1)]))
  t.notOk(ring.write([bytes(20, 2)]), '24 bytes with its length, 20 are free')
  t.ok(ring.write([bytes(16, 3)]))
  t.same(ring.read(), bytes(40, 1))
  t.same(ring.read(), bytes(16, 3))
  t.notOk(ring.write([bytes(61, 4)]), 'larger than the memory')
  t.ok(ring.write([bytes(60, 5)]), 'as large as the memory')
})

t.test('a reader that sleeps is woken once, and does not sleep over what came meanwhile', async t => {
  const ring = Ring.ofSize(64)
  t.notOk(ring.toBeWoken())
  t.ok(ring.sleep())
  ring.write([bytes(1, 1)])
  t.ok(ring.toBeWoken())
  t.notOk(ring.toBeWoken())
  t.notOk(ring.sleep(), 'there is something to read')
  t.notOk(ring.toBeWoken())
})

t.test('robots are recorded by name, or all but some', async t => {
  const which = new WhichRobots()
  t.ok(which.none)
  which.add(['a', 'b'])
  t.same([which.has('a'), which.has('c'), which.has(undefined)], [true, false, false])
  which.remove(['a'])
  t.same(which.told, { robots: ['b'], except: [] })
  which.add()
  which.remove(['c'])
  t.same([which.has('a'), which.has('c'), which.has(undefined)], [true, false, true])
  t.same(which.told, { robots: null, except: ['c'] })
  which.add(['c'])
  t.ok(which.has('c'))
  which.remove()
  t.ok(which.none)
})
