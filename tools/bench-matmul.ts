/**
 * Times the ways in which ONNX Runtime can multiply float32 activations [M, K] by 8-bit or 4-bit weights [K, N]:
 * `npx tsx tools/bench-matmul.ts 576x2048x4096 512x1152x4304`. Prints operations a second of processor time, which other
 * work on the machine changes little; docs/reference/int8.md quotes it.
 */
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { alignedTable } from '../src/commands/kit/table.js'
import { CONTRIB_DOMAIN, encodeModel, type Graph, type Initializer, type Node } from '../src/onnx/encode.js'
import { seededNoise } from '../src/runtime/noise.js'

interface Size {
  m: number
  k: number
  n: number
}

const floats = (name: string, shape: number[], values: Float32Array): Initializer => ({
  name,
  type: 'float32',
  shape,
  data: new Uint8Array(values.buffer),
})
const scalar = (name: string, value: number) => floats(name, [], Float32Array.of(value))
const bytes = (name: string, type: 'int8' | 'uint8', shape: number[]): Initializer => {
  const data = new Uint8Array(shape.reduce((product, size) => product * size, 1))
  for (let i = 0; i < data.length; i++) data[i] = Math.imul(i, 2654435761) >>> 24
  return { name, type, shape, data }
}
const node = (operator: string, inputs: string[], output: string, attributes: Node['attributes'] = {}) => ({
  operator,
  domain: '',
  name: output,
  inputs,
  outputs: [output],
  attributes,
})
const contrib = (...args: Parameters<typeof node>) => ({ ...node(...args), domain: CONTRIB_DOMAIN })

/** Rows divided by their largest value, so that one scale fits all. */
const perToken = [
  node('Abs', ['x'], 'magnitudes'),
  node('ReduceMax', ['magnitudes', 'lastAxis'], 'largest', { keepdims: { int: 1 } }),
  node('Div', ['x', 'largest'], 'even'),
]
const rescaled = node('Mul', ['product', 'largest'], 'y')
const rounded = node('QuantizeLinear', ['even', 'step', 'zero'], 'q')

const weights = ({ k, n }: Size): Initializer[] => [
  bytes('w', 'int8', [k, n]),
  floats('scales', [n], new Float32Array(n).fill(1 / 127)),
  scalar('step', 1 / 127),
  { name: 'zero', type: 'uint8', shape: [], data: Uint8Array.of(128) },
  { name: 'lastAxis', type: 'int64', shape: [1], data: new Uint8Array(BigInt64Array.of(-1n).buffer) },
]

type Parts = Pick<Graph, 'nodes' | 'initializers'>

function blockwise({ k, n }: Size, bits: number, block: number): Parts {
  const attributes = { K: k, N: n, bits, block_size: block, accuracy_level: 4 }
  const scales = new Float32Array((n * k) / block).fill(1 / 127)
  return {
    nodes: [
      contrib(
        'MatMulNBits',
        ['x', 'w', 'scales'],
        'y',
        Object.fromEntries(Object.entries(attributes).map(([name, int]) => [name, { int }])),
      ),
    ],
    initializers: [
      bytes('w', 'uint8', [n, k / block, (block * bits) / 8]),
      floats('scales', [scales.length], scales),
    ],
  }
}

const WAYS: Record<string, (size: Size) => Parts> = {
  'MatMul, fp32': ({ k, n }) => ({
    nodes: [node('MatMul', ['x', 'w'], 'y')],
    initializers: [floats('w', [k, n], seededNoise(1, k * n))],
  }),
  'MatMulIntegerToFloat, a scale a token': size => ({
    nodes: [
      ...perToken,
      rounded,
      contrib('MatMulIntegerToFloat', ['q', 'w', 'step', 'scales', 'zero'], 'product'),
      rescaled,
    ],
    initializers: weights(size),
  }),
  'DynamicQuantizeMatMul, one scale': size => ({
    nodes: [contrib('DynamicQuantizeMatMul', ['x', 'w', 'scales'], 'y')],
    initializers: weights(size),
  }),
  'DynamicQuantizeMatMul, a scale a token': size => ({
    nodes: [...perToken, contrib('DynamicQuantizeMatMul', ['even', 'w', 'scales'], 'product'), rescaled],
    initializers: weights(size),
  }),
  'MatMulInteger, a scale a token': size => ({
    nodes: [
      ...perToken,
      rounded,
      node('MatMulInteger', ['q', 'w', 'zero'], 'sums'),
      node('Cast', ['sums'], 'wide', { to: { int: 1 } }),
      node('Mul', ['wide', 'scales'], 'product'),
      rescaled,
    ],
    initializers: weights(size),
  }),
  'MatMulNBits, 8 bits, blocks of 32': size => blockwise(size, 8, 32),
  'MatMulNBits, 4 bits, blocks of 32': size => blockwise(size, 4, 32),
}

async function gigaOperations(size: Size, parts: Parts): Promise<number> {
  const { m, k, n } = size
  const model = encodeModel({
    name: 'product',
    ...parts,
    inputs: [{ name: 'x', type: 'float32', shape: [m, k] }],
    outputs: [{ name: 'y', type: 'float32', shape: [m, n] }],
  })
  const session = await InferenceSession.create(model, {
    intraOpNumThreads: 2,
    logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  })
  const x = new Tensor('float32', seededNoise(2, m * k), [m, k])
  const y = new Tensor('float32', new Float32Array(m * n), [m, n])
  const rounds = Math.max(3, Math.min(200, Math.round(5e10 / (m * k * n))))
  let best = Number.POSITIVE_INFINITY
  for (let repeat = 0; repeat < 4; repeat++) {
    const before = process.cpuUsage()
    for (let round = 0; round < rounds; round++) await session.run({ x }, { y })
    const { user, system } = process.cpuUsage(before)
    best = Math.min(best, (user + system) / rounds)
  }
  await session.release()
  return (2 * m * k * n) / best / 1000
}

const sizes = process.argv.slice(2).map(text => {
  const [m, k, n] = text.split('x').map(Number)
  return { m: m!, k: k!, n: n! }
})
if (sizes.length === 0) throw new Error('usage: npx tsx tools/bench-matmul.ts MxKxN …')
const rows: string[][] = []
for (const [name, parts] of Object.entries(WAYS)) {
  const row = [name]
  for (const size of sizes) row.push((await gigaOperations(size, parts(size))).toFixed(0))
  rows.push(row)
}
console.log(alignedTable(['10⁹ operations a second of processor time', ...process.argv.slice(2)], rows))
