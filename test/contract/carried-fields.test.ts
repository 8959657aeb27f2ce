import t from 'tap'
import { CarriedFields } from '../../src/contract/carried-fields.js'

t.test('a picture that cannot be decoded leaves what is carried over as it was', async t => {
  const carried = new CarriedFields([])
  const take = (sent: Record<string, unknown>) => carried.keep(carried.merge(sent))
  const good = take({ image: 'good', state: 1 })
  good.proven()
  const bad = take({ image: 'bad', state: 2 })
  bad.refused()
  t.same(carried.merge({}), { image: 'good', state: 1 })

  const first = take({ image: 'bad again' })
  const second = take({ state: 3 })
  t.same(second.fields, { image: 'bad again', state: 3 }, 'nobody knows yet')
  first.refused()
  t.same(carried.merge({}), { image: 'good', state: 3 }, 'what came after keeps its own fields')
  second.refused()
  t.same(carried.merge({}), { image: 'good', state: 1 })
})

t.test('what nothing has proven is forgotten when it is refused', async t => {
  const carried = new CarriedFields([])
  carried.keep(carried.merge({ image: 'bad', state: 1 })).refused()
  t.same(carried.merge({}), {})
})

t.test('an older observation does not prove itself past a newer one', async t => {
  const carried = new CarriedFields([])
  const [old, fresh] = ['old', 'new'].map(image => carried.keep(carried.merge({ image })))
  fresh!.proven()
  old!.proven()
  carried.keep(carried.merge({ image: 'bad' })).refused()
  t.same(carried.merge({}), { image: 'new' })
})

t.test('cameras of a group fall back one by one', async t => {
  const carried = new CarriedFields(['images'])
  const take = (images: Record<string, unknown>) => carried.keep(carried.merge({ images }))
  take({ left: 'l', right: 'r' }).proven()
  take({ left: 'bad' }).refused()
  t.same(carried.merge({}), { images: { left: 'l', right: 'r' } })
})

t.test('a reset forgets, and what was before it proves nothing', async t => {
  const carried = new CarriedFields([])
  const before = carried.keep(carried.merge({ image: 'before' }))
  carried.reset()
  before.proven()
  carried.keep(carried.merge({ image: 'bad' })).refused()
  t.same(carried.merge({}), {})
})
