import t from 'tap'
import { TurboPiError } from '../../src/errors.js'
import type { Sampling } from '../../src/families/pi0/sampling.js'
import { GpuRuntime } from '../../src/runtime/gpu/gpu-runtime.js'
import type { PerceiveRow, RuntimeInfo } from '../../src/runtime/runtime.js'
import { tinyModel } from '../support/fake-runtime.js'
import { RowSession } from '../support/row-session.js'

function setUp({
  kept = 4,
  joins = true,
  ...more
}: { kept?: number; joins?: boolean } & Partial<RuntimeInfo> = {}) {
  const session = new RowSession(3, { joins })
  const info: RuntimeInfo = {
    backend: 'cuda',
    device: 'a card',
    precision: 'bf16',
    maxBatch: 8,
    lanes: 2,
    prefixSlots: 3,
    joins,
    weights: 'test',
    config: tinyModel,
    ...more,
  }
  const runtime = new GpuRuntime(
    info,
    'CUDA',
    session,
    async () => new Float32Array(2),
    () => {},
    kept,
  )
  return { session, runtime }
}

const row = (picture: number | null, ...tokens: number[]): PerceiveRow => ({
  images: [picture === null ? null : new Uint8Array(48).fill(picture)],
  tokens: Int32Array.from(tokens),
})

/** What RowSession makes of a row without noise. */
const sumOf = ({ images: [picture], tokens }: PerceiveRow) =>
  (picture ? 4 * picture[0]! + 1 : 0) + tokens.reduce((sum, token) => sum + token, 0)

const plain = (count: number): Sampling[] =>
  Array.from({ length: count }, () => ({ steps: 2, noise: new Float32Array(6) }))

const firsts = (actions: Float32Array) => [...actions].filter((_, at) => at % 6 === 0)

t.test('an act call takes the rows of several prefixes, in their order', async t => {
  const { runtime, session } = setUp({ kept: 0 })
  const rows = [row(1, 5), row(2, 6, 7), row(null, 8), row(3, 1)]
  const first = await runtime.perceive(rows.slice(0, 3))
  const second = await runtime.perceive(rows.slice(3))
  const sampling = plain(4).map((one, at) => ({ ...one, noise: new Float32Array(6).fill(100 * at) }))
  const expected = rows.map(sumOf)
  const { actions } = await runtime.act([first, second], sampling)
  t.same(
    firsts(actions),
    expected.map((value, at) => value + 100 * at),
  )
  const swapped = await runtime.act([second, first], plain(4))
  t.same(firsts(swapped.actions), [expected[3], ...expected.slice(0, 3)])
  const alone = await runtime.act([first], plain(3))
  t.same(firsts(alone.actions), expected.slice(0, 3))
  const [slot] = session.acts.at(-1)!.rows
  t.same(
    [...session.acts.at(-1)!.rows],
    [slot, 0, slot, 1, slot, 2],
    'a whole prefix, denoised where it lies',
  )
  t.equal(first.reused, undefined, 'nothing is kept')
})

t.test('what cannot be joined is refused', async t => {
  const { runtime } = setUp()
  const five = Array.from({ length: 5 }, (_, at) => row(at, at))
  const [first, second] = [await runtime.perceive(five), await runtime.perceive(five)]
  await t.rejects(runtime.act([first, second], plain(10)), { message: /at most 8 rows, got 10/ })
  await t.rejects(runtime.act([], []), { message: /at least one prefix, got 0/ })
  await t.rejects(runtime.act([first, second], plain(5)), { message: /at most 8 rows, got 10/ })
  second.release()
  await t.rejects(runtime.act([first, second], plain(8)), { message: /has been released/ })
  const other = setUp({ joins: false, kept: 0 }).runtime
  const [one, two] = [await other.perceive([row(1, 1)]), await other.perceive([row(2, 2)])]
  await t.rejects(other.act([one, two], plain(2)), { message: /one prefix, got 2/ })
  await t.rejects(runtime.act([first, one], plain(6)), { message: /made by another runtime/ })
})

t.test('a row of the same bytes as one before it is not perceived again', async t => {
  const { runtime, session } = setUp()
  const first = await runtime.perceive([row(1, 5), row(2, 6)])
  t.equal(first.reused, 0)
  first.release()
  const mixed = await runtime.perceive([row(2, 6), row(3, 7), row(1, 5)])
  t.equal(mixed.reused, 2)
  t.equal(session.perceived.at(-1)!.batch, 1, 'the one that is new')
  t.same(mixed.timing, { visionMs: 2, prefixMs: 3 })
  const rows = [row(2, 6), row(3, 7), row(1, 5)]
  t.same(firsts((await runtime.act([mixed], plain(3))).actions), rows.map(sumOf))
  const calls = session.perceived.length
  const whole = await runtime.perceive(rows)
  t.match(whole, { reused: 3, timing: { visionMs: 0, prefixMs: 0 } })
  t.equal(session.perceived.length, calls, 'the engine is not asked')
  t.same(firsts((await runtime.act([whole, mixed], plain(6))).actions), [...rows, ...rows].map(sumOf))
})

t.test('equal rows of one batch are perceived once', async t => {
  const { runtime, session } = setUp()
  const rows = [row(1, 5), row(2, 6), row(1, 5), row(2, 6)]
  const prefix = await runtime.perceive(rows)
  t.equal(prefix.reused, 2)
  t.equal(session.perceived[0]!.batch, 2)
  t.same(firsts((await runtime.act([prefix], plain(4))).actions), rows.map(sumOf))
})

t.test('a mask, a token or a pixel makes another row', async t => {
  const { runtime } = setUp({ kept: 8 })
  // Pictures that agree in every byte but one, which no key samples.
  const almost = row(1, 5)
  almost.images[0]![47] = 2
  const rows = [row(1, 5), almost, row(null, 5), row(0, 5), row(1, 5, 5), row(1, 6)]
  const first = await runtime.perceive(rows)
  t.equal(first.reused, 0)
  first.release()
  const again = await runtime.perceive([almost, row(null, 5), row(1, 5, 0)])
  t.equal(again.reused, 2)
})

t.test(
  'a place that a prefix uses is not filled anew; of the others the one used least recently is',
  async t => {
    const { runtime, session } = setUp({ kept: 2 })
    const perceive = async (...rows: PerceiveRow[]) => {
      const prefix = await runtime.perceive(rows)
      return { prefix, reused: prefix.reused, keep: [...(session.perceived.at(-1)!.keep ?? [])] }
    }
    const [a, b, c] = [row(1, 1), row(2, 2), row(3, 3)]
    const filled = await perceive(a, b)
    t.same(filled.keep, [0, 1])
    filled.prefix.release()
    const user = await perceive(a)
    t.equal(user.reused, 1)
    const other = await perceive(c)
    t.same(other.keep, [1], 'the place of a is in use')
    other.prefix.release()
    const both = await perceive(row(4, 4), row(5, 5))
    t.same(both.keep, [1, -1], 'there is one place for two')
    t.same(
      firsts((await runtime.act([user.prefix, both.prefix], plain(3))).actions),
      [a, row(4, 4), row(5, 5)].map(sumOf),
    )
    both.prefix.release()
    user.prefix.release()
    const fresh = await perceive(row(6, 6))
    t.same(fresh.keep, [0], 'a was used before what lies in 1')
    fresh.prefix.release()
    const found = await perceive(row(4, 4))
    t.equal(found.reused, 1)
  },
)

t.test('what was not perceived is not kept, and its place and slot are free again', async t => {
  const { runtime, session } = setUp({ kept: 1 })
  session.failure = Object.assign(new Error('no memory'), { status: 'exhausted', hint: '' })
  for (let time = 0; time < 5; time++)
    await t.rejects(
      runtime.perceive([row(1, 1)]),
      new TurboPiError('OUT_OF_MEMORY', 'CUDA runtime: no memory.'),
    )
  session.failure = undefined
  const prefix = await runtime.perceive([row(1, 1)])
  t.equal(prefix.reused, 0)
  t.same([...session.perceived.at(-1)!.keep!], [0])
})

t.test('a state that is no part of the prefix is each row’s own', async t => {
  const config = { ...tinyModel, modelType: 'pi0' } as const
  const { runtime } = setUp({ config })
  const stated = (number: number) => ({ ...row(1, 5), state: Float32Array.of(number, 0, 0) })
  const first = await runtime.perceive([stated(1)])
  const second = await runtime.perceive([stated(2), stated(3)])
  t.equal(second.reused, 2)
  const { actions } = await runtime.act([second, first], plain(3))
  const value = sumOf(row(1, 5))
  t.same(firsts(actions), [2000 + value, 3000 + value, 1000 + value])
})
