import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { command } from '../../src/commands/verify/verify.js'
import type { Sampling } from '../../src/families/pi0/sampling.js'
import { createCpuRuntime } from '../../src/runtime/cpu/cpu-runtime.js'
import { Lane, type Slot } from '../../src/runtime/cpu/lane.js'
import type { ActCall, LoadCall } from '../../src/runtime/cpu/protocol.js'
import { seededNoise } from '../../src/runtime/noise.js'
import { layOut } from '../../src/runtime/prefix-layout.js'
import type { PerceiveRow } from '../../src/runtime/runtime.js'
import type { Stage } from '../../src/storage/stage.js'
import { golden, numbers, smallConfig, writeModelDirectory } from '../families/models.js'

const config = smallConfig()
const image = new Uint8Array(config.vision.imageSize ** 2 * 3).fill(9)
const row: PerceiveRow = { images: [image, null, image], tokens: Int32Array.of(2, 3, 4) }
const sampling = (steps: number): Sampling => {
  const next = numbers(1)
  return { steps, noise: Float32Array.from({ length: config.actionHorizon * config.actionDim }, next) }
}

t.test('serving: slots, batches, refusals, cancellation', async t => {
  const folder = t.testdir()
  const weightsPath = writeModelDirectory(join(folder, 'model'), config)
  const heard: Stage[] = []
  const onStage = (stage: Stage) => heard.push(stage)
  const runtime = await createCpuRuntime({
    weightsPath,
    config,
    cache: folder,
    maxBatch: 3,
    lanes: 2,
    onStage,
  })
  t.teardown(() => runtime.close())
  const stages = heard.filter(({ name }, i) => heard[i + 1]?.name !== name)
  t.match(
    stages,
    [
      { name: 'reading the checkpoint' },
      { name: 'lowering the weights', done: stages[1]!.total },
      { name: 'opening the engine' },
    ],
    'the first start lowers the checkpoint and tells how far it is',
  )
  t.match(runtime.info, { backend: 'cpu', precision: 'fp32', maxBatch: 3, lanes: 2, prefixSlots: 2 })

  const one = await runtime.perceive([row])
  const two = await runtime.perceive([row, { images: [null, null, null], tokens: Int32Array.of(7) }])
  t.same([one.lengths, two.lengths], [[35], [35, 1]])
  t.ok(one.timing.visionMs > 0 && one.timing.prefixMs > 0)
  await t.rejects(runtime.perceive([row]), {
    code: 'RUNTIME_FAILED',
    message: /all 2 prefix slots are in use/,
  })
  const alone = await runtime.act([one], [sampling(5)])
  t.equal(alone.stepMs.length, 5)
  const again = await runtime.act([one], [sampling(5)])
  t.same(again.actions, alone.actions, 'the same noise gives the same actions')
  const together = await runtime.act([two], [sampling(5), sampling(5)])
  const worst = alone.actions.reduce((max, v, i) => Math.max(max, Math.abs(v - together.actions[i]!)), 0)
  t.ok(worst < 1e-5, 'a row does not depend on its batch')
  const size = config.actionHorizon * config.actionDim
  t.same(
    (
      await runtime.act(
        [two],
        [8, 9].map(noise => ({ steps: 5, noise })),
      )
    ).actions,
    (
      await runtime.act(
        [two],
        [8, 9].map(seed => ({ steps: 5, noise: seededNoise(seed, size) })),
      )
    ).actions,
    'a seed is as good as the noise',
  )

  const first = runtime.act([one], [sampling(5)])
  await t.rejects(runtime.act([one], [sampling(5)]), { message: /in use by another call/ })
  t.same((await first).actions, alone.actions)
  await t.rejects(runtime.act([two], [sampling(5)]), { message: /takes 2 samplings, got 1/ })
  for (const steps of [0, 51, 1.5, Number.NaN])
    await t.rejects(runtime.act([two], [sampling(steps), sampling(steps)]), {
      message: /steps must be an integer from 1 to 50/,
    })
  await t.rejects(runtime.perceive([]), { message: /takes 1 to 3 rows, got 0/ })
  await t.rejects(runtime.perceive([row, row, row, row]), { message: /got 4/ })
  await t.rejects(runtime.trace([row], [sampling(3)]), { message: /slots are in use/ })
  one.release()
  one.release()
  await t.rejects(runtime.act([one], [sampling(5)]), { message: /has been released/ })

  const gone = new AbortController()
  gone.abort()
  await t.rejects(runtime.perceive([row], { signal: gone.signal }), { code: 'REQUEST_CANCELLED' })
  const leaving = new AbortController()
  const long = runtime.act([two], [sampling(50), sampling(50)], { signal: leaving.signal })
  leaving.abort()
  await t.rejects(long, { code: 'REQUEST_CANCELLED' })
  t.same(
    (await runtime.act([two], [sampling(5), sampling(5)])).actions,
    together.actions,
    'the prefix outlives a cancelled call',
  )
  two.release()

  const other = await createCpuRuntime({ weightsPath, config, cache: folder })
  t.teardown(() => other.close())
  const foreign = await other.perceive([row])
  await t.rejects(runtime.act([foreign], [sampling(1)]), { message: /made by another runtime/ })
  t.same(
    (await other.act([foreign], [sampling(5)])).actions,
    alone.actions,
    'one lane or two, the same numbers',
  )
  await other.close()
  await t.rejects(other.act([foreign], [sampling(1)]), { code: 'SHUTTING_DOWN' })
})

t.test('rows that do not fit the network are refused', async t => {
  const bad: [Partial<PerceiveRow>, RegExp][] = [
    [{ images: [image] }, /row 0 has 1 images; the network has 3/],
    [{ images: [image.subarray(1), null, null] }, /row 0, base_0_rgb: 2351 bytes; expected 2352/],
    [{ tokens: new Int32Array(13) }, /has 13 tokens; the policy takes at most 12/],
    [{ tokens: Int32Array.of(50) }, /token 50; the vocabulary has 50/],
    [{ tokens: Int32Array.of(-1) }, /token -1/],
    [{ images: [null, null, null], tokens: new Int32Array(0) }, /neither an image nor a token/],
  ]
  for (const [change, message] of bad)
    t.throws(() => layOut([{ ...row, ...change }], config), { code: 'RUNTIME_FAILED', message })
  t.throws(() => layOut([row], { ...config, modelType: 'pi0' }), { message: /pi0 needs 32/ })
})

t.test('starting: what cannot be served is refused, a cancelled start leaves nothing', async t => {
  const folder = t.testdir()
  const weightsPath = writeModelDirectory(join(folder, 'model'), config)
  await t.rejects(createCpuRuntime({ weightsPath: join(folder, 'nowhere'), config, cache: folder }), {
    code: 'CHECKPOINT_INVALID',
  })
  const wide = { ...config, vision: { ...config.vision, width: 48 } }
  await t.rejects(createCpuRuntime({ weightsPath, config: wide, cache: folder }), {
    code: 'CHECKPOINT_INVALID',
  })
  writeFileSync(join(folder, 'file'), '')
  await t.rejects(createCpuRuntime({ weightsPath, config, cache: join(folder, 'file') }), {
    code: 'CACHE_FAILED',
  })
  const leaving = new AbortController()
  const start = createCpuRuntime({ weightsPath, config, cache: folder, signal: leaving.signal })
  leaving.abort()
  await t.rejects(start, { code: 'REQUEST_CANCELLED' })

  const written = [0, 0]
  const both = await Promise.all(
    written.map((_, i) =>
      createCpuRuntime({
        weightsPath,
        config,
        cache: folder,
        onStage: ({ name }) => {
          if (name === 'lowering the weights') written[i]! += 1
        },
      }),
    ),
  )
  t.equal(written.filter(Boolean).length, 1, 'of two that start at once on a cold cache one writes')
  await Promise.all(both.map(runtime => runtime.close()))
})

/** A worker that answers load with nothing, perceive never, and dies of act. */
const FRAGILE = `
  const { parentPort } = require('node:worker_threads')
  parentPort.on('message', ({ id, call, slot }) => {
    if (call.kind === 'act') process.exit(3)
    if (call.kind === 'lower') throw new Error('out of memory')
    if (call.kind === 'close') return parentPort.close()
    if (call.kind !== 'perceive') parentPort.postMessage({ id, result: call.kind })
  })`

t.test('a worker that dies fails its calls and is replaced', async t => {
  let started = 0
  const lane = new Lane(() => {
    started++
    return new Worker(FRAGILE, { eval: true })
  })
  const load = { kind: 'load' } as LoadCall
  const act = { kind: 'act' } as ActCall
  await lane.prepare(load)
  const slot: Slot = { buffer: new ArrayBuffer(8) }
  const waiting = t.rejects(lane.call({ kind: 'perceive' } as never), { code: 'RUNTIME_FAILED' })
  await t.rejects(lane.call(act, { slot }), { code: 'RUNTIME_FAILED', message: /exited with code 3/ })
  await waiting
  t.equal(slot.buffer, undefined, 'the slot went down with it')
  t.equal(await lane.call(load), 'load', 'the next call starts another one')
  await t.rejects(lane.call({ kind: 'lower' } as never), { message: /out of memory/ })
  t.equal(await lane.call(load), 'load')
  t.equal(started, 3)
  const left = t.rejects(lane.call({ kind: 'perceive' } as never), { code: 'SHUTTING_DOWN' })
  await lane.close()
  await left
  await t.rejects(lane.call(load), { code: 'SHUTTING_DOWN' })
})

t.test('a worker that does not come back is left, and another one takes its place', async t => {
  /** Waits for ever in a native call the first time, until the test wakes it. */
  const gate = new Int32Array(new SharedArrayBuffer(4))
  const HANGING = `
    const { parentPort, workerData } = require('node:worker_threads')
    parentPort.on('message', ({ id, call }) => {
      if (call.kind === 'act') Atomics.wait(workerData, 0, 0)
      if (call.kind === 'close') return parentPort.close()
      parentPort.postMessage({ id, result: call.kind })
    })`
  const workers: Worker[] = []
  const lane = new Lane(() => {
    const worker = new Worker(HANGING, { eval: true, workerData: gate })
    workers.push(worker)
    return worker
  })
  const load = { kind: 'load' } as LoadCall
  const act = { kind: 'act' } as ActCall
  await lane.prepare(load)
  const hanging = t.rejects(lane.call(act), { code: 'RUNTIME_FAILED', message: /did not come back/ })
  await lane.replace()
  await hanging
  t.equal(await lane.call(load), 'load', 'the other one answers')
  await t.rejects(lane.replace(), { code: 'ENGINE_HUNG' }, 'their memory is bounded: one at a time')
  await t.rejects(lane.close(), { code: 'ENGINE_HUNG' }, 'its thread cannot be ended')
  const ended = new Promise(resolve => workers[0]!.once('exit', resolve))
  workers[0]!.ref()
  Atomics.store(gate, 0, 1)
  Atomics.notify(gate, 0)
  t.equal(await ended, 0, 'it ends when it comes back')
})

t.test('turbo-pi verify', async t => {
  process.env['TURBO_PI_CACHE'] = t.testdir()
  const printed: string[] = []
  t.intercept(console, 'log', { value: (text: string) => printed.push(text) })
  const pi0 = join(golden, 'model_pi0_tiny')
  const good = join(golden, 'cases/pi0_tiny_a_2cam_10steps.safetensors')
  t.equal(await command.run(['--model', pi0, '--cases', good]), 0)
  t.match(printed.pop(), /pi0_tiny_a_2cam_10steps \| +- \| +\d(.|\n)*all 1 cases passed/)
  t.equal(await command.run(['--model', pi0, '--cases', good, '--tolerance', '1e-9', '--json']), 1)
  t.match(JSON.parse(printed.pop()!), {
    passed: false,
    cases: [{ differences: { actions: { max: Number } } }],
  })
  const all = join(golden, 'cases')
  t.equal(await command.run(['--model', pi0, '--cases', all]), 1, 'a case that is skipped is a failure')
  t.match(printed.pop(), /skipped: it is a case of model_pi05_tiny(.|\n)*4 of 5 cases did not pass/)

  const mistakes: [string[], RegExp][] = [
    [['--cases', good], /--cases needs --model/],
    [['--model', pi0, '--cases', good, '--speed'], /verify has no option --speed/],
    [['--model', pi0, '--cases', good, '--runtime', 'tpu'], /--runtime takes one of .*"tpu"/],
    [['--model', pi0, '--cases', good, '--precision', 'fp4'], /--precision takes one of .*"fp4"/],
    [['--model', pi0, '--cases', good, '--tolerance', '0'], /--tolerance takes a positive number/],
    [['--model', pi0, '--cases', good, '--against', 'random'], /exclude each other/],
    [['--policy-cases', good], /--policy-cases and --models are needed, both/],
    [['--model', pi0, '--cases', join(golden, 'nothing')], /cannot be read/],
    [['--model', pi0, '--cases', join(golden, 'model_pi0_tiny/../policies')], /holds no \.safetensors file/],
  ]
  for (const [argv, message] of mistakes)
    await t.rejects(command.run(argv), { code: 'CONFIG_INVALID', message })
})
