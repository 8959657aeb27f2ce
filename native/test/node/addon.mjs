/** The addon's surface, then 10,000 jobs: every frame comes back as itself and nothing is left behind. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { act, addon, assertActions, build, frame, openToy, plan, toyStages } from './toy.mjs'

const report = path.join(os.tmpdir(), `turbo-pi-report-${process.pid}.json`)
if (process.env.FAKE_CUDA_REPORT === undefined) {
  // The stand-in driver counts what was made and not given back, and writes it when its process ends.
  const self = fileURLToPath(import.meta.url)
  const child = spawnSync(process.execPath, [...process.execArgv, self], {
    stdio: 'inherit',
    env: { ...process.env, FAKE_CUDA_REPORT: report, TURBO_PI_TEST_HOOKS: '1' },
  })
  assert.equal(child.status, 0, 'the addon test failed')
  assert.deepEqual(JSON.parse(readFileSync(report, 'utf8')), { live: 0 }, 'CUDA objects were left behind')
  console.log('ok   no CUDA object is left after close')
  process.exit(0)
}

const ok = what => console.log(`ok   ${what}`)

const found = await addon.probe()
assert.equal(found.available, true)
assert.deepEqual(
  [found.device, found.computeCapability, found.tensorrtVersion],
  ['Stand-in GPU', '11.0', '10.13.3.9'],
)
assert.match((await addon.probe(5)).reason, /GPU 5 was asked for/)
ok('probe tells the device and the versions')

// Nothing else keeps the event loop open here.
const [card] = await addon.readCards([0])
assert.deepEqual(
  [card.name, card.utilisation, card.memoryTotal, card.watts, card.processes],
  ['Stand-in card', 37, 85899345920, 412.5, [1000]],
)
process.env.FAKE_NVML_DELAY_MS = '400'
let turns = 0
const ticking = setInterval(() => (turns += 1), 5)
const asked = performance.now()
const slowly = addon.readCards([0])
const askedMs = performance.now() - asked
await slowly
const tookMs = performance.now() - asked
delete process.env.FAKE_NVML_DELAY_MS
assert.ok(askedMs < 100 && tookMs >= 400, `asking took ${askedMs} ms, the answer ${tookMs} ms`)
assert.ok(turns > 20, `the event loop turned ${turns} times`)
clearInterval(ticking)
ok(
  `a card is read beside the event loop: asked in ${askedMs.toFixed(2)} ms, held up for ${Math.round(tookMs)} ms, ${turns} turns meanwhile`,
)

const gemma = { width: 64, depth: 2, mlp: 128, heads: 2, kvHeads: 1, headDim: 32, float8: false }
const memory = await addon.cudaMemory({
  stages: {
    kind: 'cuda',
    kernels: 'absent',
    tuned: true,
    readers: 1,
    weights: [{ name: 'prefix.0.qkv', pieces: [{ file: 'absent', offset: 0, elements: 1000, type: 'F32' }] }],
    model: {
      ...{ pi05: true, given: false, element: 'bfloat16', vision: gemma, prefix: gemma, expert: gemma },
      ...{ imageSize: 28, patch: 14, vocabulary: 100, horizon: 4, actionDim: 8, ropeTheta: 10000 },
      ...{
        rmsEpsilon: 1e-6,
        layerNormEpsilon: 1e-6,
        maxBatch: 2,
        maxImages: 4,
        maxPrefix: 40,
        tokenBuckets: [32],
      },
    },
  },
  lanes: 1,
  slots: 1,
  kept: 3,
  device: 0,
})
// Two layers of keys and of values of 40 places a row in bf16: 2 rows of the slot, 2 that an act joins, 3 that are kept; and
// lengths. Rotations of 44 places.
assert.deepEqual(
  [memory.slots, memory.weights],
  [4 * (2 + 2 + 3) * 40 * 32 * 2 + 2 * 256, 2048 + 44 * 16 * 8],
)
assert.ok(memory.inputs > 0 && memory.workspaces > 0)
ok('what a session would take is told without opening it')

assert.match(await addon.planMismatch({ ...plan('vision'), device: 0 }), /No such file/)
const cancelled = build('vision')
cancelled.cancel()
await assert.rejects(cancelled.promise, error => error.status === 'cancelled')
const steps = []
for (const graph of ['vision', 'prefix', 'denoise'])
  await build(graph, (_phase, step) => steps.push(step)).promise
assert.equal(steps.length, 33)
assert.equal(await addon.planMismatch({ ...plan('vision'), device: 0 }), '')
assert.match(
  await addon.planMismatch({
    path: plan('vision').path,
    key: { graph: 'vision', model: 'other' },
    device: 0,
  }),
  /another model: toy, now other/,
)
ok('plans are built with progress, cancelled, found again, and refused under another key')

await assert.rejects(
  addon.openSession({
    stages: {
      kind: 'tensorrt',
      plans: { ...toyStages().plans, denoise: { ...plan('denoise'), path: '/absent' } },
    },
    lanes: 2,
    slots: 2,
    device: 0,
  }),
  error => error.status === 'failed' && /\/absent/.test(error.message),
)
assert.throws(() => addon.openSession({ lanes: 2 }), /stages is not an object/)
assert.throws(
  () => addon.openSession({ stages: { kind: 'toy' }, lanes: 2, slots: 2, device: 0 }),
  /kind is toy, expected one of cuda, tensorrt/,
)
ok('a session that can not open says why')

const session = await openToy()
assert.equal(session.shape.maxBatch, 2)
assert.deepEqual(session.shape.tokenBuckets, [4, 8])
await assert.rejects(
  session.perceive({ ...frame(0, 1), tokens: new BigInt64Array(3) }).promise,
  error => error.status === 'invalid',
)
assert.throws(
  () => session.perceive({ ...frame(0, 1), images: new Float32Array(3) }),
  /images is not a typed array/,
)
const { visionMs, prefixMs } = await session.perceive(frame(0, 7)).promise
assert.ok(visionMs >= 0 && prefixMs >= 0)
const { actions, denoiseMs } = await session.act(act(0, 7)).promise
assertActions(actions, 7)
assert.ok(denoiseMs >= 0)
const trace = await session.trace({ ...frame(1, 7), ...act(1, 7) }).promise
assert.deepEqual(trace.actions, actions)
assert.deepEqual([trace.imageEmbeddings.length, trace.keys.length, trace.x.length], [24, 2, 3])
ok('perceive, act and trace give the model’s numbers; what does not fit is refused')

assert.equal(session.shape.joins, false)
assert.throws(
  () => session.act({ ...act(0, 7), rows: Int32Array.of(0) }),
  /rows is not pairs of slot and row/,
)
for (const [call, reason] of [
  [() => session.act({ ...act(0, 7), rows: Int32Array.of(0, 1) }), /slot 0 holds a prefix of 1 rows/],
  [() => session.act({ ...act(0, 7), rows: Int32Array.of(2, 0) }), /slot 2 is not one of 2/],
  [() => session.perceive({ ...frame(1, 7), keep: Int32Array.of(-1) }), /no rows can be kept here/],
])
  await assert.rejects(call().promise, error => error.status === 'invalid' && reason.test(error.message))
for (const [options, reason] of [
  [{ slots: 2, kept: 1 }, /no rows can be kept here/],
  [{ slots: 9 }, /a session has 1 to 8 slots/],
])
  await assert.rejects(addon.openSession({ stages: toyStages(), lanes: 2, device: 0, ...options }), reason)
ok('an act names its rows; engines join none and keep none, and say so')

// A job that is held back by its slot can be taken out.
const first = session.perceive(frame(0, 1))
const second = session.perceive(frame(0, 2))
const ends = Promise.allSettled([first.promise, second.promise])
const taken = session.cancel(second.job)
const [perceived, waited] = await ends
assert.equal(perceived.status, 'fulfilled')
// Taken out, or it had started already.
assert.equal(waited.reason?.status, taken ? 'cancelled' : undefined)
ok('a waiting job can be cancelled')

const frames = 5000
let done = 0
const baseline = []
async function lane(slot) {
  for (let number = slot; number < frames; number += 2) {
    const perceived = session.perceive(frame(slot, number)).promise
    const acted = session.act(act(slot, number)).promise
    await perceived
    assertActions((await acted).actions, number)
    done += 2
    if (done % 2000 < 2) {
      globalThis.gc()
      baseline.push(process.memoryUsage().rss)
    }
  }
}
const started = performance.now()
await Promise.all([lane(0), lane(1)])
assert.equal(done, 2 * frames)
const growth = (Math.max(...baseline.slice(-2)) - baseline[0]) / 2 ** 20
assert.ok(growth < 24, `memory grew by ${growth.toFixed(1)} MiB over ${done} jobs`)
ok(
  `${done} jobs, every frame came back as itself, ${growth.toFixed(1)} MiB growth, ${Math.round(performance.now() - started)} ms`,
)

const late = session.perceive(frame(0, 1)).promise
const closing = session.close()
await late.then(
  () => {},
  error => assert.equal(error.status, 'cancelled'),
)
await closing
await session.close()
assert.throws(
  () => session.perceive(frame(0, 1)),
  error => error.status === 'cancelled',
)
ok('close lets work end, and a closed session refuses more')

// Sessions that nobody closes are ended when they are collected.
for (let round = 0; round < 5; round++) await openToy(1, 1)
for (let round = 0; round < 10; round++) {
  globalThis.gc()
  await new Promise(resolve => setTimeout(resolve, 10))
}
ok('sessions without a reference are collected')

const doomed = await openToy()
await doomed.perceive(frame(0, 1)).promise
await doomed.destroyContext().promise
for (const call of [() => doomed.perceive(frame(0, 2)), () => doomed.act(act(0, 1))])
  await assert.rejects(call().promise, error => error.status === 'failed' && /\(709\)/.test(error.message))
await doomed.close()
const reopened = await openToy()
await reopened.perceive(frame(0, 3)).promise
assertActions((await reopened.act(act(0, 3)).promise).actions, 3)
await reopened.close()
ok('a card whose context is destroyed fails its session alone: the process closes it, and opens another')
