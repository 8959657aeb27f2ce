import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { cudaMemoryCheck } from '../../src/commands/kit/cuda-memory.js'
import { Checkpoint } from '../../src/families/pi0/checkpoint.js'
import { readModelDirectory } from '../../src/families/pi0/model-directory.js'
import { EMBEDDING, expectedTensors, PREFIX, VISION } from '../../src/families/pi0/tensors.js'
import type { Policy } from '../../src/policy/policy.js'
import type { BackendOptions } from '../../src/runtime/backend.js'
import { type CudaStages, createCudaRuntime, probeCuda } from '../../src/runtime/cuda/create.js'
import { nativeModel } from '../../src/runtime/cuda/native-model.js'
import { nativeWeights, type WeightPiece, weightNames } from '../../src/runtime/cuda/weights.js'
import type { Devices } from '../../src/runtime/devices.js'
import type { NativeAddon } from '../../src/runtime/gpu/addon.js'
import { toFloat32 } from '../../src/storage/dtype.js'

const golden = (name: string) =>
  readModelDirectory(new URL(`../golden/model_${name}_tiny`, import.meta.url).pathname)

/** Of the prefix's last layer nothing but keys and values is used. */
const unusedOf = (depth: number) =>
  ['self_attn.q_proj', 'self_attn.o_proj', 'mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj']
    .concat('post_attention_layernorm')
    .map(name => `${PREFIX}.layers.${depth - 1}.${name}.weight`)

for (const name of ['pi05', 'pi0'])
  t.test(`the stages are given every tensor of ${name} that the network uses, once`, async t => {
    const { config } = golden(name)
    const given = [...weightNames(config).values()].flat()
    t.equal(new Set(given).size, given.length)
    const unused = unusedOf(config.prefix.depth)
    t.same(new Set([...given, ...unused]), new Set(expectedTensors(config).keys()))
    t.notOk(given.some(tensor => unused.includes(tensor)))
  })

function elementsAt({ file, offset, elements, type }: WeightPiece): Float32Array {
  const bytes = new Uint8Array(elements * (type === 'F32' ? 4 : 2))
  const descriptor = openSync(file, 'r')
  readSync(descriptor, bytes, 0, bytes.length, offset)
  closeSync(descriptor)
  return toFloat32(type, bytes)
}

t.test('a weight is where its tensors lie in the file, in the order in which they are packed', async t => {
  const { config, weightsPath } = golden('pi05')
  const weights = new Map(nativeWeights(weightsPath, config).map(({ name, pieces }) => [name, pieces]))
  const checkpoint = Checkpoint.open(weightsPath, config)
  t.teardown(() => checkpoint.close())
  const same = (name: string, tensors: string[]) =>
    t.same(
      weights.get(name)!.map(elementsAt),
      tensors.map(tensor => checkpoint.float32(tensor)),
      name,
    )
  same('prefix.embedding', [EMBEDDING])
  same(
    'vision.0.qkv.weight',
    ['q', 'k', 'v'].map(part => `${VISION}.encoder.layers.0.self_attn.${part}_proj.weight`),
  )
  same(
    'prefix.0.gate_up',
    ['gate', 'up'].map(part => `${PREFIX}.layers.0.mlp.${part}_proj.weight`),
  )
})

t.test('an image of kernels and a card of compute capability 8.0 are what it needs', async t => {
  const addon = (found: object) => ({ probe: async () => found }) as unknown as NativeAddon
  const kernels = new URL(import.meta.url).pathname
  const card = { device: 'a card', computeCapability: '9.0', driver: '580' }
  t.match(await probeCuda(addon({ reason: 'no driver', hint: 'install it' }), kernels), {
    available: false,
    reason: 'no driver',
    hint: 'install it',
  })
  t.match(await probeCuda(addon({ ...card, computeCapability: '7.5' }), kernels), {
    available: false,
    reason: /compute capability 7\.5; the kernels need 8\.0/,
  })
  t.match(await probeCuda(addon(card), join(kernels, 'missing')), {
    available: false,
    reason: /kernels are not there/,
  })
  t.match(await probeCuda(addon({ ...card, reason: 'no TensorRT' }), kernels), { available: true })
})

t.test('what it cannot read in place is refused by name', async t => {
  const { config, weightsPath } = golden('pi05')
  const addon = { probe: async () => ({ device: 'a card', computeCapability: '9.0' }) }
  const options = { weightsPath, config, precision: 'bf16', lanes: 1, maxBatch: 1, cache: t.testdir() }
  const open = (more: object) =>
    createCudaRuntime({
      ...(options as unknown as BackendOptions),
      addon: addon as unknown as NativeAddon,
      kernels: new URL(import.meta.url).pathname,
      ...more,
    })
  await t.rejects(open({ adapterPath: '/adapters/pick' }), {
    code: 'RUNTIME_UNAVAILABLE',
    message: /\/adapters\/pick is an adapter/,
  })
  await t.rejects(open({ weightsPath: t.testdir() }), { message: /is a JAX checkpoint/ })
})

t.test('fp8 is refused on a card without 8-bit floats, by the start and by the doctor', async t => {
  const { config, weightsPath } = golden('pi05')
  const of = (computeCapability: string) => {
    const { addon, opened } = twoCards()
    const old = {
      ...addon,
      probe: async () => ({ device: 'a card', devices: 1, computeCapability, driver: '580' }),
    }
    return { addon: old as unknown as NativeAddon, opened }
  }
  const open = ({ addon }: { addon: NativeAddon }, precision: string) =>
    createCudaRuntime({
      ...({ weightsPath, config, precision, lanes: 1, maxBatch: 1 } as unknown as BackendOptions),
      ...{ cache: t.testdir(), addon, kernels: new URL(import.meta.url).pathname },
    })
  const ampere = of('8.0')
  await t.rejects(open(ampere, 'fp8'), {
    code: 'RUNTIME_UNAVAILABLE',
    message:
      /a card has compute capability 8\.0; 8-bit floats need 8\.9 or later\. To mend it: use --precision bf16/,
  })
  t.same(ampere.opened, [])
  await open(ampere, 'bf16')
  for (const capability of ['8.9', '9.0', '12.0']) await open(of(capability), 'fp8')
  const policy = { weightsPath, model: config, close: async () => {} } as unknown as Policy
  const asked = { precision: 'fp8', pipeline: 'off', maxBatch: 1, prefixCache: 0 } as const
  t.match(await cudaMemoryCheck(policy, asked, ampere.addon), {
    status: 'failed',
    detail: /compute capability 8\.0; 8-bit floats need 8\.9 or later: use --precision bf16/,
  })
})

/** A machine of two cards, as far as opening sessions goes. */
function twoCards(fails: (device: number) => boolean = () => false, used = 5e9) {
  const opened: { device: number; readers: number }[] = []
  const closed: number[] = []
  const addon = {
    probe: async (device = 0) => ({
      device: `card ${device}`,
      devices: 2,
      computeCapability: '9.0',
      driver: '580',
    }),
    readCards: async ([device]: number[]) => [{ device, memoryTotal: 80e9, memoryUsed: used }],
    cudaMemory: async ({ stages, slots, kept }: { stages: CudaStages; slots: number; kept: number }) => ({
      weights: 7e9,
      slots: (slots * stages.model.maxBatch + kept / 32) * 1e9,
      inputs: 1e8,
      workspaces: 5e8,
    }),
    openSession: async ({ device, stages }: { device: number; stages: CudaStages }) => {
      opened.push({ device, readers: stages.readers })
      if (fails(device)) throw new Error('cuMemAlloc of 7 bytes: CUDA_ERROR_OUT_OF_MEMORY')
      return { shape: { joins: true }, close: async () => closed.push(device) }
    },
  }
  return { addon: addon as unknown as NativeAddon, opened, closed }
}

t.test('with --devices each card has a session of its own, and all share eight readers', async t => {
  const { config, weightsPath } = golden('pi05')
  const open = (machine: ReturnType<typeof twoCards>, devices: Devices) =>
    createCudaRuntime({
      ...({ weightsPath, config, precision: 'bf16', lanes: 1, maxBatch: 1 } as unknown as BackendOptions),
      cache: t.testdir(),
      addon: machine.addon,
      kernels: new URL(import.meta.url).pathname,
      devices,
    })
  const machine = twoCards()
  const all = await open(machine, 'all')
  t.same(machine.opened, [
    { device: 0, readers: 4 },
    { device: 1, readers: 4 },
  ])
  t.match(all.info, { cards: [0, 1], device: 'card 0, driver 580; card 1, driver 580' })
  t.same(
    all.cards?.map(({ info }) => [info.cards, info.weights]),
    [
      [[0], all.info.weights],
      [[1], all.info.weights],
    ],
  )
  await all.close()
  t.same(machine.closed, [0, 1])

  const one = await open(twoCards(), [1])
  t.equal(one.cards, undefined)
  t.same(one.info.cards, [1])

  const short = twoCards(device => device === 1)
  await t.rejects(open(short, 'all'), {
    code: 'RUNTIME_FAILED',
    message: /could not be opened: cuMemAlloc of 7 bytes: CUDA_ERROR_OUT_OF_MEMORY \(GPU 1\)/,
  })
  t.same(short.closed, [0], 'the card that was opened is given back')
})

t.test(
  'what the policy takes on the card is known, and must be free, before anything is allocated',
  async t => {
    const { config, weightsPath } = golden('pi05')
    const open = (machine: ReturnType<typeof twoCards>, maxBatch: number) =>
      createCudaRuntime({
        ...({ weightsPath, config, precision: 'bf16', lanes: 2, maxBatch } as unknown as BackendOptions),
        cache: t.testdir(),
        addon: machine.addon,
        kernels: new URL(import.meta.url).pathname,
      })
    const roomy = twoCards(undefined, 68e9)
    const { info } = await open(roomy, 1)
    t.match(info, { prefixSlots: 4, joins: true })
    t.same(info.memory, { weights: 7e9, slots: 4e9, inputs: 1e8, workspaces: 5e8 })
    const full = twoCards(undefined, 69e9)
    await t.rejects(open(full, 1), {
      code: 'RUNTIME_UNAVAILABLE',
      message:
        /GPU 0 has 11\.0 GB of 80\.0 GB free, and the policy takes 11\.6 GB \(weights 7\.0, keys and values of 4 batches 4\.0, inputs 0\.1, workspaces 0\.5\)\. To mend it: lower --max-batch/,
    })
    t.same(full.opened, [], 'no session was opened')
    const silent = twoCards(undefined, 79e9)
    Object.assign(silent.addon, { readCards: () => Promise.reject(new Error('no NVML')) })
    t.ok(await open(silent, 1), 'a card that does not tell is tried')
  },
)

t.test('the doctor tells what a policy takes on a GPU', async t => {
  const { config, weightsPath } = golden('pi05')
  let closed = 0
  const policy = { weightsPath, model: config, close: async () => void (closed += 1) } as unknown as Policy
  const settings = { precision: 'auto', pipeline: 'auto', maxBatch: 2, prefixCache: 16 } as const
  t.match(await cudaMemoryCheck(policy, settings, twoCards().addon), {
    status: 'ok',
    detail:
      /^10\.1 GB \(weights 7\.0, keys and values of 1 batch and 16 kept rows 2\.5, inputs 0\.1, workspaces 0\.5\), and what CUDA takes/,
  })
  t.match(await cudaMemoryCheck(policy, settings, twoCards(undefined, 75e9).addon), {
    status: 'failed',
    detail: /GPU 0 has 5\.0 GB of 80\.0 GB free[\s\S]*Lower --max-batch/,
  })
  t.match(await cudaMemoryCheck(policy, settings, { reason: 'the addon is not there', hint: 'build it' }), {
    status: 'note',
    detail: 'the addon is not there: build it',
  })
  t.equal(closed, 3)
})

t.test('sizes are those of the config', async t => {
  const { config } = golden('pi0')
  t.match(nativeModel(config, 'fp8', 1), {
    element: 'bfloat16',
    vision: { float8: false },
    prefix: { float8: true },
    expert: { float8: true },
  })
  t.throws(
    () => nativeModel(config, 'int8', 1),
    /of vision the CUDA kernels compute \{"up":"fp8"\} in 8 bits/,
  )
  t.match(nativeModel(config, 'fp32', 4), {
    vision: { float8: false, headDim: config.vision.width / config.vision.heads },
    prefix: { float8: false },
    pi05: false,
    given: false,
    element: 'float32',
    horizon: config.actionHorizon,
    maxImages: 4 * config.cameraSlots.length,
  })
})
