import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import {
  decodeMsgpack,
  encodeMsgpack,
  Float,
  type MsgpackValue,
  NdArray,
  NumpyScalar,
} from '../../src/contract/msgpack.js'

const golden = new URL('../golden/prepost/msgpack/', import.meta.url)
const file = (name: string) => readFileSync(new URL(`${name}.msgpack`, golden))
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

t.test("every message of openpi's packer is read and written back byte for byte", async t => {
  // What decodes to a plain number forgets its NumPy type, and 20.0 that it was a float: written from their own values.
  const response = decodeMsgpack(file('response')) as Record<string, Record<string, MsgpackValue>>
  const own: Record<string, MsgpackValue> = {
    response: { ...response, server_timing: { ...response['server_timing'], prev_total_ms: new Float(20) } },
    np_f32: new NumpyScalar('<f4', Math.fround(0.1)),
    np_i64: new NumpyScalar('<i8', -3),
    np_u8: new NumpyScalar('|u1', 200),
    np_bool: new NumpyScalar('|b1', true),
  }
  const names = readdirSync(golden)
    .filter(name => name.endsWith('.msgpack'))
    .map(name => name.replace('.msgpack', ''))
  t.ok(names.length >= 22)
  for (const name of names) {
    const bytes = file(name)
    const value = decodeMsgpack(bytes)
    t.equal(hex(encodeMsgpack(own[name] ?? value)), hex(bytes), name)
    if (own[name] instanceof NumpyScalar) t.equal(value, own[name].value, `${name}: plain value`)
  }
})

t.test('captured server frames and client observations too', async t => {
  for (const robot of ['libero', 'aloha']) {
    for (const frame of ['00_server', '02_server', '04_server']) {
      const bytes = readFileSync(new URL(`../websocket_${robot}/${frame}.bin`, golden))
      t.equal(hex(encodeMsgpack(decodeMsgpack(bytes))), hex(bytes), `${robot} ${frame}`)
    }
  }
  for (const policy of ['pi05_libero', 'pi05_droid', 'pi05_aloha', 'pi05_full_droid_jointpos']) {
    const bytes = readFileSync(new URL(`../../policies/${policy}/obs.msgpack`, golden))
    t.ok(Buffer.from(encodeMsgpack(decodeMsgpack(bytes))).equals(bytes), policy)
  }
})

t.test('arrays are views into the frame; values are what Python sees', async t => {
  const frame = file('obs_libero')
  const observation = decodeMsgpack(frame) as Record<string, MsgpackValue>
  const image = observation['observation/image'] as NdArray
  t.ok(image instanceof NdArray)
  t.equal(image.data.buffer, frame.buffer, 'no copy')
  const scalars = decodeMsgpack(file('scalars')) as Record<string, MsgpackValue>
  t.equal(scalars['s'], 'héllo')
  t.equal(scalars['big'], 2 ** 40)
  t.same(scalars['l'], [1, 'x', 2.5])
  t.same(scalars['b'], Buffer.from([0, 255]))
  t.equal((decodeMsgpack(file('nd_unicode')) as NdArray).dtype, '<U7')
  t.equal((decodeMsgpack(file('nd_be_f4')) as NdArray).dtype, '>f4')
})

t.test('string keys are accepted for arrays', async t => {
  const bytes = Buffer.from(
    hex(file('nd_f32_2x3')).replace('c40b', 'ab').replaceAll('c405', 'a5').replace('c404', 'a4'),
    'hex',
  )
  t.ok(decodeMsgpack(bytes) instanceof NdArray)
  t.same(decodeMsgpack(bytes), decodeMsgpack(file('nd_f32_2x3')))
})

t.test('an array is the same in whatever order its keys come, and counts for as many values', async t => {
  const head = '84c40b5f5f6e6461727261795f5fc3'
  const data = 'c40464617461c402'
  const dtype = 'c4056474797065a37c7531'
  const shape = 'c40573686170659102'
  const bytes = '0708'
  const array = new NdArray('|u1', [2], Uint8Array.of(7, 8))
  for (const text of [
    head + data + bytes + dtype + shape,
    head + data + bytes + shape + dtype,
    head + dtype + data + bytes + shape,
    head + data + bytes + dtype.replace('a3', 'd903') + shape,
  ]) {
    const message = Buffer.from(text, 'hex')
    t.same(decodeMsgpack(message), array)
    t.same(decodeMsgpack(message, { maxValues: 6 }), array)
    t.throws(() => decodeMsgpack(message, { maxValues: 5 }), { message: /more than 5 values/ })
    for (let end = 0; end < message.length; end += 1)
      t.throws(() => decodeMsgpack(message.subarray(0, end)), { code: 'BODY_MALFORMED' })
  }
  const twice = Buffer.from(head + data + bytes + data + bytes + shape, 'hex')
  t.throws(() => decodeMsgpack(twice), { message: /"data" occurs twice/ })
})

t.test('texts are written alike at every length, in ASCII and not', async t => {
  for (const letter of ['a', 'é', '€', '😀'])
    for (let length = 0; length < 40; length += 1) {
      const text = 'x'.repeat(length) + letter
      const bytes = Buffer.from(text)
      const tag = bytes.length < 32 ? [0xa0 | bytes.length] : [0xd9, bytes.length]
      t.same(Buffer.from(encodeMsgpack(text)), Buffer.concat([Buffer.from(tag), bytes]))
    }
})

t.test('numbers are written as Python writes them', async t => {
  const cases: [MsgpackValue, string][] = [
    [127, '7f'],
    [128, 'cc80'],
    [256, 'cd0100'],
    [65536, 'ce00010000'],
    [2 ** 32, 'cf0000000100000000'],
    [-32, 'e0'],
    [-33, 'd0df'],
    [-129, 'd1ff7f'],
    [-32769, 'd2ffff7fff'],
    [-(2 ** 31) - 1, 'd3ffffffff7fffffff'],
    [2n ** 63n, 'cf8000000000000000'],
    [7n, '07'],
    [5, '05'],
    [new Float(5), 'cb4014000000000000'],
    [-0, 'cb8000000000000000'],
    [1e300, 'cb7e37e43c8800759c'],
    [Number.NaN, 'cb7ff8000000000000'],
    ['x'.repeat(32), `d920${'78'.repeat(32)}`],
    [
      new Map<string, MsgpackValue>([
        ['b', 1],
        ['1', null],
      ]),
      '82a16201a131c0',
    ],
  ]
  for (const [value, expected] of cases) t.equal(hex(encodeMsgpack(value)), expected)
  for (const value of [2n ** 63n, -(2n ** 63n), 2 ** 53 - 1, -1, 255, 0.1])
    t.equal(decodeMsgpack(encodeMsgpack(value)), value)
  t.equal((decodeMsgpack(encodeMsgpack(Array(70_000).fill(0))) as unknown[]).length, 70_000)
  t.throws(() => encodeMsgpack((() => 1) as unknown as MsgpackValue), TypeError)
})

t.test('a hostile frame is refused, whatever it announces', async t => {
  const refused = (bytes: Uint8Array | number[], message: RegExp, limits = {}) =>
    t.throws(() => decodeMsgpack(Uint8Array.from(bytes), limits), { code: 'BODY_MALFORMED', message })
  refused([], /1 bytes expected/)
  refused([0x01, 0x02], /1 bytes follow/)
  refused([0xdd, 0xff, 0xff, 0xff, 0xff], /4294967295 entries announced/)
  refused([0xdf, 0xff, 0xff, 0xff, 0xff, 0xa1], /entries announced/)
  refused([0xc6, 0xff, 0xff, 0xff, 0xff], /4294967295 bytes expected/)
  refused([0xdb, 0x7f, 0xff, 0xff, 0xff], /bytes expected/)
  refused(Array(100_000).fill(0x91), /nested deeper than 32/)
  refused([0xdc, 0x27, 0x10, ...Array(10_000).fill(0x80)], /more than 5000 values/, { maxValues: 5000 })
  refused([0xc7, 1, 5, 0], /extension/)
  refused([0xc1], /type 0xc1/)
  refused([0xa2, 0xff, 0xfe], /not UTF-8/)
  refused([0x81, 0x01, 0x01], /keys of a map must be strings/)
  refused([0x82, 0xa1, 0x61, 1, 0xa1, 0x61, 2], /"a" occurs twice/)
  const packed = (dtype: string, shape: MsgpackValue, data: MsgpackValue) =>
    encodeMsgpack({ __ndarray__: true, data, dtype, shape })
  refused(packed('<f4', [3], new Uint8Array(8)), /takes 12 bytes, got 8/)
  refused(packed('|O', [1], new Uint8Array(8)), /dtype "\|O" is not supported/)
  refused(packed('<c8', [1], new Uint8Array(8)), /not supported/)
  refused(packed('<f4', [-1], new Uint8Array(4)), /needs "data"/)
  refused(packed('<f4', [2 ** 52, 2 ** 52], new Uint8Array(4)), /takes .* bytes/)
  refused(packed('<f4', [1], 'text'), /needs "data"/)
  refused(encodeMsgpack({ __npgeneric__: true, data: 'x', dtype: '<f4' }), /NumPy scalar/)
  const parsed = decodeMsgpack(encodeMsgpack(new Map([['__proto__', { polluted: true }]])))
  t.equal(({} as Record<string, unknown>)['polluted'], undefined)
  t.same(Object.keys(parsed as object), ['__proto__'])
})
