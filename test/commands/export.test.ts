import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { command } from '../../src/commands/export.js'
import { golden } from '../families/models.js'
import { decodeOnnx } from '../support/onnx.js'

const GRAPHS = ['vision', 'prefix', 'modulation', 'denoise']
/** TensorProto.DataType. */
const [FLOAT, UINT8, INT64, FLOAT16, BFLOAT16] = [1, 2, 7, 10, 16]
const ELEMENT_BYTES: Record<number, number> = { [FLOAT]: 4, [FLOAT16]: 2, [BFLOAT16]: 2 }
const model = join(golden, 'model_pi05_tiny')

const printed: string[] = []
t.intercept(console, 'log', { value: (text: string) => printed.push(text) })

for (const [precision, type] of [
  ['fp32', FLOAT],
  ['bf16', BFLOAT16],
  ['fp16', FLOAT16],
] as const)
  t.test(`${precision}: four graphs and a weights file that belong together`, async t => {
    const directory = join(t.testdir(), 'made/for/it')
    t.equal(await command.run(['--model', model, '--output', directory, '--precision', precision]), 0)
    t.same(
      readdirSync(directory).sort(),
      [...GRAPHS.map(name => `${name}.onnx`), 'model.json', 'weights.bin'].sort(),
    )
    const end = statSync(join(directory, 'weights.bin')).size
    const places = new Map<string, [from: number, to: number]>()
    const io: Record<string, number> = {}
    for (const graph of GRAPHS) {
      const { opsets, inputs, outputs, initializers } = decodeOnnx(
        readFileSync(join(directory, `${graph}.onnx`)),
      )
      t.same(opsets, [{ domain: '', version: 21 }])
      for (const { name, elementType } of [...inputs, ...outputs]) io[name] = elementType
      const external = initializers.filter(({ external }) => external['location'])
      t.ok(external.length > 0)
      for (const { name, shape, elementType, external: place } of external) {
        t.equal(place['location'], 'weights.bin', `${name} lies inside the directory`)
        const [offset, length] = [Number(place['offset']), Number(place['length'])]
        t.equal(offset % 64, 0, `${name} is aligned`)
        t.equal(length, ELEMENT_BYTES[elementType]! * shape.reduce((product, size) => product * size))
        t.ok(offset + length <= end, `${name} lies within the file`)
        places.set(name, [offset, offset + length])
      }
      if (graph === 'prefix')
        t.ok(
          external.every(({ elementType }) => elementType === type),
          'the weights of the prefix are narrow',
        )
      if (graph === 'modulation')
        t.ok(
          external.every(({ elementType }) => elementType === FLOAT),
          'the time is float32',
        )
    }
    const sorted = [...places.values()].sort(([a], [b]) => a - b)
    t.ok(
      sorted.every(([from], i) => i === 0 || from >= sorted[i - 1]![1]),
      'no two weights overlap',
    )
    t.match(io, {
      images: UINT8,
      tokens: INT64,
      source: INT64,
      lengths: INT64,
      image_embeddings: type,
      'keys.0': type,
      'values.2': type,
      x: FLOAT,
      update: FLOAT,
      target: FLOAT,
      modulation: FLOAT,
      x_next: FLOAT,
      velocity: FLOAT,
    })
    t.match(JSON.parse(readFileSync(join(directory, 'model.json'), 'utf8')), {
      precision,
      graphs: { prefix: { outputs: [{ name: 'keys.0', shape: ['B', 1, 'P', 32] }] } },
    })
  })

t.test('what it prints builds the engines', async t => {
  const output = join(t.testdir(), 'out')
  t.equal(await command.run(['--model', model, '--output', output, '--max-batch', '2']), 0)
  const text = printed.at(-1)!
  t.match(text, /pi05, bf16, ONNX opset 21, strongly typed/)
  const lines = text.split('\n').filter(line => line.startsWith('trtexec '))
  t.equal(lines.length, 4)
  const vision = lines.find(line => line.includes('--onnx=vision.onnx'))!
  t.match(vision, /--stronglyTyped /)
  t.match(
    vision,
    /--minShapes=images:1x224x224x3 --optShapes=images:3x224x224x3 --maxShapes=images:6x224x224x3 /,
  )
  const prefix = lines.find(line => line.includes('--onnx=prefix.onnx'))!
  t.match(prefix, /--maxShapes=image_embeddings:6x256x128,tokens:400,source:2x968,lengths:2 /)
  const denoise = lines.find(line => line.includes('--onnx=denoise.onnx'))!
  t.match(denoise, /--minShapes=x:1x10x32,update:1x10x3,target:1x10x32,keys.0:1x1x1x32,/)
  t.match(
    denoise,
    /--maxShapes=x:2x10x32,update:2x10x3,target:2x10x32,keys.0:2x1x968x32,.*,values.2:2x1x968x32,lengths:2 /,
  )
  t.notMatch(denoise, /[^_]modulation:/, 'sizes that are fixed are not named')
})

t.test('the bundled policy, by default', async t => {
  const output = t.testdir()
  t.equal(await command.run(['--output', output, '--precision', 'fp16']), 0)
  t.match(printed.at(-1)!, /pi05, fp16/)
  t.ok(existsSync(join(output, 'denoise.onnx')))
})

t.test('what it refuses', async t => {
  const full = t.testdir({ 'notes.txt': 'mine', 'model.json': '{}', file: '' })
  const before = readdirSync(full)
  const mistakes: [string[], RegExp][] = [
    [['--model', model, '--output', full], /is not empty: it holds file, model.json, notes.txt.*--force/],
    [['--model', model, '--output', join(full, 'file')], /cannot be written/],
    [['--model', model], /--output DIR is missing/],
    [
      ['--model', model, '--output', full, '--force', '--precision', 'int8'],
      /precision is int8.*fp32, bf16, fp16/,
    ],
    [['--model', model, '--policy', model, '--output', full], /--policy or --model, not both/],
    [['--model', model, '--output', full, '--speed'], /has no option --speed/],
  ]
  for (const [argv, message] of mistakes)
    await t.rejects(command.run(argv), { code: 'CONFIG_INVALID', message })
  t.same(readdirSync(full), before, 'nothing was written')
  await t.rejects(command.run(['--model', full, '--output', join(full, 'new')]), {
    code: 'CHECKPOINT_INVALID',
  })

  writeFileSync(join(full, 'vision.onnx'), 'old')
  t.equal(await command.run(['--model', model, '--output', full, '--force']), 0)
  t.equal(readFileSync(join(full, 'notes.txt'), 'utf8'), 'mine', 'other files stay')
  t.ok(decodeOnnx(readFileSync(join(full, 'vision.onnx'))).nodes.length > 0)
})
