import t from 'tap'
import type { Observation } from '../../src/contract/observation.js'
import { loadPolicy } from '../../src/policy/loading/load.js'
import { Player } from '../../src/recording/player.js'
import { Recorder } from '../../src/recording/recorder.js'
import { Replay } from '../../src/recording/replay.js'
import { replayHtml } from '../../src/recording/report-html.js'
import { createRuntime } from '../../src/runtime/backends.js'
import { Served } from '../../src/service/served.js'
import { PolicyService } from '../../src/service/service.js'
import { filesIn } from '../support/recording.js'
import { repositoryPath } from '../support/served-policy.js'

const tabletop = repositoryPath('policies/tabletop')

const runtimeOf = (policy: Awaited<ReturnType<typeof loadPolicy>>, precision: 'fp32' | 'int8') =>
  createRuntime(policy, {
    runtime: 'cpu',
    precision,
    pipeline: 'off',
    threads: 1,
    maxBatch: 4,
    visionCache: 0,
  })

/** What a robot might see: pictures of noise, as arrays. */
function observation(
  spec: { cameras: readonly { key: string }[]; state: readonly { key: string; size: number }[] },
  token: number,
): Observation {
  const data = new Uint8Array(32 * 32 * 3).map((_, at) => (at * (token + 3)) % 251)
  return {
    images: Object.fromEntries(
      spec.cameras.map(({ key }) => [key, { kind: 'array', dtype: 'uint8', shape: [32, 32, 3], data }]),
    ),
    state: Object.fromEntries(
      spec.state.map(({ key, size }) => [
        key,
        Float64Array.from({ length: size }, (_, at) => Math.sin(at + token) / 3),
      ]),
    ),
    prompt: 'pick up the red block',
  }
}

t.test('a recording on the CPU is replayed bit for bit, whatever shared its batches', async t => {
  const directory = t.testdir({})
  const policy = await loadPolicy(tabletop)
  const service = new PolicyService({ policy, runtime: runtimeOf(policy, 'fp32') })
  await service.start()
  const log = { info: () => {}, warn: () => {} }
  const limits = { maxBytes: 1e9, maxMs: 1e9, minFree: 0 }
  const recorder = new Recorder(new Served(service), { directory, cameras: 'exact', ...limits, log })
  recorder.start()
  const ask = (token: number, options = {}) =>
    service.infer(observation(policy.spec, token), options, {
      session: `${token % 3}`,
      robot: `arm-${token % 3}`,
    })
  const [first] = await Promise.all(Array.from({ length: 9 }, (_, token) => ask(token)))
  await ask(9, {
    steps: 3,
    noise: new Float32Array(policy.model.actionHorizon * policy.model.actionDim).fill(0.1),
  })
  const previous = { served: first!.served, consumed: 2 }
  await ask(10, { rtc: { mode: 'guided', previous, inferenceDelay: 2 } })
  service.events.flush()
  await recorder.stop()
  await recorder.close()
  await service.close()

  const again = await loadPolicy(tabletop, { guard: { mode: 'report' } })
  const [fp32, int8] = await Promise.all([runtimeOf(again, 'fp32'), runtimeOf(again, 'int8')])
  const player = new Player(again, fp32)
  const report = await new Replay(player, new Player(again, int8), { limit: 1000 }).run(filesIn(directory))
  t.match(report, { observations: 11, bitExact: 11, lossy: 0, dropped: 0, cut: [], otherModels: 0 })
  t.equal(report.recorded?.model, report.replayed.model)
  const { 'recorded and replayed': same, 'replayed and against': other } = report.comparisons
  t.match(same, { chunks: 11, exact: 11, first: null })
  t.match(other, { chunks: 11, exact: 0, first: { observation: 1, row: 0 } })
  t.ok(
    other!.joints.some(({ max }) => max > 1e-6),
    'int8 computes other numbers',
  )
  t.ok(other!.joints.every(({ max, mean }) => max >= mean))
  const html = replayHtml(report, player.joints)
  t.notMatch(html, /<script|src=|href=|url\(/, 'loads nothing')
  t.equal(html.split('<svg').length - 1, player.joints.length)
  t.ok(html.includes('11 of 11'))

  const one = await new Replay(player, undefined, { limit: 2, robot: 'arm-1' }).run(filesIn(directory))
  t.match(one, { observations: 2, bitExact: 2, against: null })
  for (let limit = 1; limit < 9; limit += 1) {
    const some = await new Replay(player, undefined, { limit }).run(filesIn(directory))
    t.match(
      some,
      { observations: limit, bitExact: limit },
      `the first ${limit}, whatever comes after them in their engine call`,
    )
  }
  await Promise.all([fp32.close(), int8.close()])
  await again.close()
})

t.test('what is no recording, or fits another policy, is refused by its name', async t => {
  const directory = t.testdir({ 'notes.mcap': 'these are no notes of a robot' })
  const policy = await loadPolicy(tabletop)
  const runtime = await runtimeOf(policy, 'fp32')
  const replay = () => new Replay(new Player(policy, runtime), undefined, { limit: 10 })
  await t.rejects(replay().run([`${directory}/notes.mcap`]), {
    code: 'RECORDING_INVALID',
    message: /notes\.mcap/,
  })
  await t.rejects(replay().run([`${directory}/nothing.mcap`]), {
    code: 'RECORDING_INVALID',
    message: /ENOENT/,
  })
  await runtime.close()
  await policy.close()
})
