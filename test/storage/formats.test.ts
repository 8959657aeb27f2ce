import { copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseModelConfig, releasedConfig } from '../../src/families/pi0/config.js'
import { readModelDirectory } from '../../src/families/pi0/model-directory.js'
import { timeEmbeddings, timeGrid } from '../../src/families/pi0/time.js'
import { fromFloat16, toBfloat16, toFloat16, toFloat32 } from '../../src/storage/dtype.js'
import { Safetensors, writeSafetensors } from '../../src/storage/safetensors.js'
import { describe, golden, smallConfig } from '../families/models.js'

/** A safetensors file with the given header; `data` bytes follow it. */
function writeFile(path: string, header: unknown, data = 0, headerLength?: bigint): string {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(headerLength ?? BigInt(text.length))
  writeFileSync(path, Buffer.concat([length, text, Buffer.alloc(data)]))
  return path
}

t.test('safetensors: every mistake is a clear error', async t => {
  const path = join(t.testdir(), 'model.safetensors')
  const entry = (changes: object) => ({
    a: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16], ...changes },
  })
  const mistakes: [string, RegExp, () => void][] = [
    ['no such file', /cannot be opened/, () => {}],
    ['empty file', /has 0 bytes/, () => writeFileSync(path, '')],
    ['header longer than the file', /cut short or no safetensors/, () => writeFile(path, '{}', 0, 999n)],
    ['absurd header length', /cut short or no safetensors/, () => writeFile(path, '{}', 0, 2n ** 60n)],
    ['no JSON', /header is not JSON/, () => writeFile(path, '{"a":')],
    ['no header', /header is not JSON/, () => writeFile(path, '', 0, 0n)],
    ['no object', /not a JSON object/, () => writeFile(path, [])],
    ['null entry', /tensor a has dtype undefined/, () => writeFile(path, { a: null })],
    ['unknown dtype', /tensor a has dtype "F8_E4M3"/, () => writeFile(path, entry({ dtype: 'F8_E4M3' }), 16)],
    ['negative size', /tensor a has shape \[-2,2\]/, () => writeFile(path, entry({ shape: [-2, 2] }), 16)],
    ['shape missing', /tensor a has shape undefined/, () => writeFile(path, entry({ shape: undefined }), 16)],
    [
      'offsets missing',
      /data_offsets undefined/,
      () => writeFile(path, entry({ data_offsets: undefined }), 16),
    ],
    ['one offset', /data_offsets \[0\]/, () => writeFile(path, entry({ data_offsets: [0] }), 16)],
    [
      'wrong size',
      /takes 16 bytes, but data_offsets give 12/,
      () => writeFile(path, entry({ data_offsets: [0, 12] }), 16),
    ],
    ['cut short', /tensor a ends at byte .* it is cut short/, () => writeFile(path, entry({}), 15)],
    ['bytes left over', /3 bytes after the last tensor/, () => writeFile(path, entry({}), 19)],
    ['gap', /a gap or an overlap/, () => writeFile(path, entry({ data_offsets: [4, 20] }), 20)],
  ]
  for (const [name, message, plant] of mistakes) {
    plant()
    t.throws(() => Safetensors.open(path), { code: 'CHECKPOINT_INVALID', message }, name)
    t.throws(() => Safetensors.open(path), { message: path }, `${name}: names the file`)
  }
  writeFile(path, entry({}), 16)
  const store = Safetensors.open(path)
  t.throws(() => store.float32('b'), { message: /no tensor b/ })
  writeFileSync(path, '')
  t.throws(() => store.float32('a'), { message: /cut while it was read/ }, 'cut after opening')
  store.close()
})

t.test('safetensors: what is written is read back, whole and by range', async t => {
  const path = join(t.testdir(), 'a.safetensors')
  const values = Float32Array.of(1, -2.5, 3e-5, 65504, 0.1, -0)
  const f16 = Uint16Array.from(values, toFloat16)
  const bf16 = Uint16Array.from(values, toBfloat16)
  const views: [
    string,
    'F32' | 'F16' | 'BF16' | 'F64' | 'I64' | 'I32' | 'I16' | 'I8' | 'U8' | 'BOOL',
    ArrayBufferView,
  ][] = [
    ['bool', 'BOOL', Uint8Array.of(1, 0, 1, 1, 0, 0)],
    ['f32', 'F32', values],
    ['f16', 'F16', f16],
    ['bf16', 'BF16', bf16],
    ['f64', 'F64', Float64Array.from(values)],
    ['i64', 'I64', BigInt64Array.of(1n, -2n, 3n, 4n, 5n, 6n)],
    ['i32', 'I32', Int32Array.of(1, -2, 3, 4, 5, 6)],
    ['i16', 'I16', Int16Array.of(1, -2, 3, 4, 5, 6)],
    ['i8', 'I8', Int8Array.of(1, -2, 3, 4, 5, 6)],
    ['u8', 'U8', Uint8Array.of(1, 254, 3, 4, 5, 6)],
    ['größe', 'U8', Uint8Array.of(1, 2, 3, 4, 5, 6)],
  ]
  const heard: number[] = []
  writeSafetensors(
    path,
    new Map(views.map(([name, dtype, view]) => [name, { dtype, shape: [2, 3], pieces: () => [view] }])),
    { note: 'ä' },
    bytes => heard.push(bytes),
  )
  const store = Safetensors.open(path)
  t.equal(heard.length, views.length)
  t.equal(store.metadata['note'], 'ä')
  for (const [name, dtype, view] of views) {
    const expected = toFloat32(dtype, new Uint8Array(view.buffer as ArrayBuffer))
    t.same(store.float32(name), expected, name)
    t.same(store.float32(name, 2, 3), expected.slice(2, 5), `${name} in part`)
  }
  t.same([...store.float32('i64')], [1, -2, 3, 4, 5, 6])
  t.same([...store.float32('f32')], [...values])
  store.close()
  const short = new Map([['a', { dtype: 'F32' as const, shape: [4], pieces: () => [new Float32Array(3)] }]])
  t.throws(() => writeSafetensors(path, short), /12 bytes written, 16 expected/)
})

t.test('safetensors: shards', async t => {
  const folder = t.testdir()
  const index = join(folder, 'model.safetensors.index.json')
  const shard = (name: string, tensor: string, value: number) =>
    writeSafetensors(
      join(folder, name),
      new Map([[tensor, { dtype: 'F32' as const, shape: [1], pieces: () => [Float32Array.of(value)] }]]),
    )
  const write = (weightMap: unknown) => writeFileSync(index, JSON.stringify({ weight_map: weightMap }))
  shard('one.safetensors', 'a', 1)
  shard('two.safetensors', 'b', 2)
  write({ a: 'one.safetensors', b: 'two.safetensors' })
  const store = Safetensors.open(index)
  t.same([...store.float32('a'), ...store.float32('b')], [1, 2])
  t.same(
    store.content().files,
    ['one', 'two'].map(name => ({ path: join(folder, `${name}.safetensors`), name: '' })),
  )
  store.close()

  write({ a: 'one.safetensors', b: 'three.safetensors' })
  t.throws(() => Safetensors.open(index), { message: /three\.safetensors: cannot be opened/ })
  write({ a: 'one.safetensors', c: 'two.safetensors' })
  t.throws(() => Safetensors.open(index), { message: /puts tensor c into two\.safetensors/ })
  write({ a: '../one.safetensors' })
  t.throws(() => Safetensors.open(index), { message: /expected a file in the same folder/ })
  write({ a: 'one.safetensors', b: { toString: 1 } })
  t.throws(() => Safetensors.open(index), { message: /names \{"toString":1\}; expected a file in/ })
  write(null)
  t.throws(() => Safetensors.open(index), { message: /expected an object "weight_map"/ })
  writeFileSync(index, '{')
  t.throws(() => Safetensors.open(index), { message: /cannot be read as JSON/ })
  copyFileSync(join(folder, 'one.safetensors'), join(folder, 'two.safetensors'))
  write({ a: 'one.safetensors', b: 'two.safetensors' })
  t.throws(() => Safetensors.open(index), { message: /tensor a is also in another shard/ })
})

t.test('binary16 and bfloat16', async t => {
  for (let bits = 0; bits < 0x10000; bits++) {
    const value = fromFloat16(bits)
    if (Number.isNaN(value) ? !Number.isNaN(fromFloat16(toFloat16(value))) : toFloat16(value) !== bits)
      t.fail(`binary16 ${bits.toString(16)} does not come back`)
  }
  const rounding: [number, number][] = [
    [1 + 2 ** -11, 1],
    [1 + 3 * 2 ** -11, 1 + 2 ** -9],
    [65519, 65504],
    [65520, Number.POSITIVE_INFINITY],
    [2 ** -25, 0],
    [2 ** -25 * 1.01, 2 ** -24],
  ]
  for (const [value, expected] of rounding) t.equal(fromFloat16(toFloat16(value)), expected, `${value}`)
  const bf16 = (value: number) =>
    toFloat32('BF16', new Uint8Array(Uint16Array.of(toBfloat16(value)).buffer))[0]
  t.equal(bf16(1 + 2 ** -8), 1)
  t.equal(bf16(1 + 3 * 2 ** -8), 1 + 2 ** -6)
  t.equal(bf16(Number.NEGATIVE_INFINITY), Number.NEGATIVE_INFINITY)
  t.ok(Number.isNaN(bf16(Number.NaN)))
})

t.test('config.json in its three forms', async t => {
  const pi05 = ['time_mlp_in.weight']
  const pi0 = ['action_time_mlp_in.weight']
  const small = smallConfig({ actionHorizon: 7 })
  t.same(parseModelConfig(describe(small), 'config.json', pi05), small, 'described in full')
  const tiny = readModelDirectory(join(golden, 'model_pi05_tiny')).config
  t.same([tiny.modelType, tiny.vision.width, tiny.expert.headDim], ['pi05', 64, 32], 'golden form')

  const converted = {
    action_dim: 32,
    action_horizon: 50,
    paligemma_variant: 'gemma_2b',
    action_expert_variant: 'gemma_300m',
    precision: 'bfloat16',
  }
  t.same(parseModelConfig(converted, 'c', pi05), releasedConfig('pi05'), "openpi's converter")
  t.same(parseModelConfig(converted, 'c', pi0), releasedConfig('pi0'), 'pi0 by its tensors')
  const lerobot = {
    type: 'pi05',
    paligemma_variant: 'gemma_2b',
    action_expert_variant: 'gemma_300m',
    chunk_size: 30,
    max_action_dim: 32,
    tokenizer_max_length: 100,
    min_period: 0.004,
    max_period: 4.0,
    rtc_training_max_delay: 6,
  }
  const expected = {
    ...releasedConfig('pi05'),
    actionHorizon: 30,
    maxTokenLength: 100,
    trainedDelay: 6,
    timeGrid: 'lerobot',
  }
  t.same(parseModelConfig(lerobot, 'c', ['model.time_mlp_in.weight']), expected, "LeRobot's")

  const mistakes: [object, RegExp][] = [
    [
      { paligemma_variant: 'gemma_2b_lora' },
      /"paligemma_variant" is gemma_2b_lora, but .* Give the JAX checkpoint/,
    ],
    [{ action_dim: undefined }, /c: field "action_dim": expected a positive integer, got nothing/],
    [{ action_horizon: 1.5 }, /"action_horizon"/],
    [{ model_type: 'pi0' }, /"model_type": expected "pi05", since the tensors/],
    [{ model_type: 'pi1' }, /expected "pi05" or "pi0", got "pi1"/],
    [{ vision: null }, /"vision": expected an object/],
    [{ vision: { ...(describe(small)['vision'] as object), patch: 0 } }, /"vision\.patch"/],
    [{ vision: { ...(describe(small)['vision'] as object), patch: 5 } }, /no multiple of patch 5/],
    [{ vision: { ...(describe(small)['vision'] as object), heads: 5 } }, /no multiple of its 5 heads/],
    [{ image_keys: 'x' }, /"image_keys": expected a list/],
    [{ rope_theta: -1 }, /"rope_theta": expected a positive number/],
    [{ rtc_training_max_delay: -1 }, /"rtc_training_max_delay": expected an integer from 0 on, got -1/],
    [{ paligemma: { ...(describe(small)['paligemma'] as object), depth: 3 } }, /depth are 3 and 2/],
    [{ paligemma: undefined, paligemma_variant: 'gemma_9b' }, /expected one of dummy, gemma_300m/],
  ]
  for (const [change, message] of mistakes)
    t.throws(() => parseModelConfig({ ...describe(small), ...change }, 'c', pi05), {
      code: 'CHECKPOINT_INVALID',
      message,
    })
  const gemma = (changes: object) => ({
    ...describe(small),
    paligemma: { ...(describe(small)['paligemma'] as object), ...changes },
    action_expert: { ...(describe(small)['action_expert'] as object), ...changes },
  })
  t.throws(() => parseModelConfig(gemma({ num_kv_heads: 3 }), 'c', pi05), { message: /cannot share 3/ })
  t.throws(() => parseModelConfig(gemma({ head_dim: 7 }), 'c', pi05), { message: /needs an even one/ })
  t.throws(() => parseModelConfig(7, 'c', pi05), { message: /expected a JSON object/ })
  const folder = t.testdir()
  t.throws(() => readModelDirectory(folder), {
    message: /expected model\.safetensors, or .*params there .*, found none/,
  })
  copyFileSync(join(golden, 'model_pi0_tiny/model.safetensors'), join(folder, 'model.safetensors'))
  t.equal(
    readModelDirectory(folder).horizonIsKnown,
    false,
    'without config.json the sizes are those of the tensors',
  )
  writeFileSync(join(folder, 'config.json'), '{')
  t.throws(() => readModelDirectory(folder), { message: /config\.json: cannot be read as JSON/ })
})

t.test('time grid and embeddings', async t => {
  const { config } = readModelDirectory(join(golden, 'model_pi05_tiny'))
  const store = Safetensors.open(join(golden, 'cases/pi05_tiny_a_2cam_short_10steps.safetensors'))
  t.same(
    new Float32Array(timeGrid(10, 'openpi')),
    store.float32('mid.timesteps'),
    'the official grid, bit for bit',
  )
  store.close()
  for (const steps of [1, 3, 7, 50]) {
    const grid = timeGrid(steps, 'openpi')
    t.equal(grid.length, steps)
    t.ok(Math.abs(grid[steps - 1]! - 1 / steps) < 1e-6)
  }
  t.same(timeGrid(4, 'lerobot'), [1, 0.75, 0.5, 0.25])
  t.equal(timeGrid(10, 'lerobot')[3], 1 + 3 * -0.1, "LeRobot's grid is not rounded")
  const first = timeEmbeddings(config, [1])
  t.equal(first.length, config.expert.width)
  // t = 1: the shortest period 0.004 divides it 250 times, the longest 0.25 times.
  t.match(
    [first[0]!.toFixed(6), first[31]!.toFixed(6), first[63]!.toFixed(6)],
    ['-0.000000', '1.000000', '0.000000'],
  )
})
