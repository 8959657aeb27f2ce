import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import t from 'tap'
import { linear } from '../../src/families/pi0/blocks.js'
import type { ProductType } from '../../src/onnx/arithmetic.js'
import { fromFloat8, roundOutputs, scaleOf, toFloat8 } from '../../src/onnx/float8.js'
import type { GraphBuilder, Value } from '../../src/onnx/graph.js'
import { Lowering } from '../../src/onnx/lowering.js'
import { RoundingGraphBuilder } from '../../src/onnx/rounding-graph.js'
import { WeightsFile } from '../../src/onnx/weights-file.js'
import { toBfloat16 } from '../../src/storage/dtype.js'
import { golden, numbers, smallConfig } from '../families/models.js'

/** Every bfloat16 number, by its bits. */
const every = new Float32Array(Uint32Array.from({ length: 2 ** 16 }, (_, bits) => bits << 16).buffer)
/** What ml_dtypes makes of each (test/golden/README.md); a NaN has no sign here. */
const expected = new Uint8Array(gunzipSync(readFileSync(join(golden, 'float8/e4m3_of_bf16.bin.gz')))).map(
  bits => ((bits & 0x7f) === 0x7f ? 0x7f : bits),
)

const bfloat16 = (value: number) => every[toBfloat16(value)]!

/** Runs a graph of one input and one output. */
async function run(
  directory: string,
  x: Float32Array,
  shape: number[],
  draw: (g: GraphBuilder, x: Value, weights: WeightsFile) => Value,
): Promise<Float32Array> {
  const weights = new WeightsFile('weights.bin')
  const g = new RoundingGraphBuilder('float8', weights, 'bfloat16')
  g.output('y', g.cast(draw(g, g.input('x', 'float32', shape), weights), 'float32'), ['n'])
  writeFileSync(join(directory, 'graph.onnx'), g.encode())
  weights.write(join(directory, 'weights.bin'))
  const session = await InferenceSession.create(join(directory, 'graph.onnx'))
  const { y } = await session.run({ x: new Tensor('float32', x, shape) })
  return y!.data as Float32Array
}

t.test('every bfloat16 number is rounded to 8 bits as ml_dtypes rounds it', async t => {
  const own = Uint8Array.from(every, toFloat8)
  t.same(own, expected, 'by the definition')
  const values = Float32Array.from(expected, fromFloat8)
  t.ok(
    values.every((v, i) => Number.isNaN(v) || toFloat8(v) === expected[i]),
    'and back',
  )
  const rounded = await run(t.testdir(), every, [every.length], (g, x) => g.throughFloat8(x))
  t.ok(
    rounded.every((v, i) => Object.is(v, values[i])),
    'by ONNX Runtime, which emulates with it',
  )
})

t.test('the scale of a row is a power of two that leaves its largest number between 192 and 384', async t => {
  const positive = every.filter(v => v >= 2 ** -100 && v < 2 ** 100)
  const scales = positive.map(scaleOf)
  t.ok(
    scales.every((scale, i) => Number.isInteger(Math.log2(scale)) && positive[i]! / scale <= 384),
    'nothing is cut off',
  )
  t.ok(scales.every((scale, i) => positive[i]! / scale >= 192))
  t.equal(scaleOf(0), 2 ** -108)
  const drawn = await run(t.testdir(), positive, [positive.length], (g, x) =>
    g.multiply(g.nearestPowerOfTwo(x), g.floats('float32', 2 ** -8)),
  )
  t.same(drawn, scales, 'in the graph, too')
})

t.test('weights are rounded with a scale an output', async t => {
  const [inputs, outputs] = [24, 5]
  const next = numbers(11)
  const original = Float32Array.from(
    { length: inputs * outputs },
    (_, at) => next() * 10 ** ((at % outputs) - 2) * (at % outputs === 3 ? 0 : 1),
  )
  const rounded = roundOutputs(original.slice(), outputs)
  for (let o = 0; o < outputs; o++) {
    const column = Array.from({ length: inputs }, (_, i) => bfloat16(original[i * outputs + o]!))
    const scale = scaleOf(Math.max(...column.map(Math.abs)))
    const byHand = column.map(v => fromFloat8(toFloat8(v / scale)) * scale)
    t.same(
      byHand.map((_, i) => rounded[i * outputs + o]),
      byHand.map(v => v + 0),
      `output ${o}`,
    )
  }
})

t.test('a product from 8-bit floats is that of what they hold', async t => {
  const [tokens, width, outputs] = [3, 32, 6]
  const next = numbers(5)
  const config = smallConfig()
  // One token is zero, one a thousand times larger.
  const x = Float32Array.from(
    { length: tokens * width },
    (_, at) => next() * [1, 0, 1000][Math.floor(at / width)]!,
  )
  const w = Float32Array.from({ length: outputs * width }, next)
  const norm = Float32Array.from({ length: width }, next)
  const tensors = {
    shape: (name: string) => (name === 'norm' ? [width] : [outputs, width]),
    float32: (name: string) => (name === 'norm' ? norm : w).slice(),
  }
  const eight = (row: Float32Array) => {
    const scale = scaleOf(Math.max(...row.map(Math.abs)))
    return row.map(v => fromFloat8(toFloat8(v / scale)) * scale)
  }
  for (const how of ['fp8', 'fp8Weights'] satisfies ProductType[]) {
    const y = await run(t.testdir(), x, [tokens, width], (g, x, _weights) =>
      linear(
        { g, lower: new Lowering(tensors as never), config, products: { up: how } },
        x,
        'up',
        [{ weight: 'w' }],
        { place: 'up', rmsNorm: 'norm' },
      ),
    )
    const byHand = Array.from({ length: tokens * outputs }, (_, at) => {
      const [token, o] = [Math.floor(at / outputs), at % outputs]
      const normed = x
        .slice(token * width, (token + 1) * width)
        .map((v, i) => bfloat16(v * Math.fround(1 + norm[i]!)))
      const a = how === 'fp8' ? eight(normed) : normed
      const b = eight(w.slice(o * width, (o + 1) * width).map(bfloat16))
      return a.reduce((sum, v, i) => sum + v * b[i]!, 0)
    })
    for (const [at, v] of byHand.entries())
      t.ok(Math.abs(y[at]! - v) <= Math.abs(v) * 2 ** -8 + 1e-6, `${how}, ${at}: ${y[at]} for ${v}`)
  }
})
