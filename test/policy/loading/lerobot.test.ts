import { rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Observation } from '../../../src/contract/observation.js'
import { RequestParser } from '../../../src/contract/parse.js'
import { loadPolicy } from '../../../src/policy/loading/load.js'
import type { PolicyOptions } from '../../../src/policy/loading/openpi.js'
import {
  bundled,
  editJson,
  editTensors,
  float32,
  golden,
  type Json,
  lerobotCheckpoint,
  readJson,
  writeJson,
} from '../../support/checkpoint.js'
import { refused } from '../../support/refused.js'

const NORM_STATS = 'NORM_STATS_INVALID'
const POLICY = 'POLICY_INVALID'

const observation = (): Observation => {
  const image = {
    kind: 'array',
    dtype: 'uint8',
    shape: [3, 224, 224],
    data: new Uint8Array(150528).fill(9),
  } as const
  return {
    images: { 'observation.images.image': image, 'observation.images.image2': image },
    state: { 'observation.state': Float64Array.of(0.1, -0.2, 0.3, 0.4, -0.5, 0.6, 0.7, 0.8) },
    prompt: 'stack_the cups',
  }
}

const stats = (feature: 'state' | 'actions', stat: string) => {
  const file = readJson(join(bundled, 'assets/physical-intelligence/libero/norm_stats.json'))
  const values = (file['norm_stats'] as Record<string, Record<string, number[]>>)[feature]?.[stat]
  return Array.from(values as number[], Math.fround)
}

t.test('a LeRobot checkpoint is served as its own files say', async t => {
  const policy = await loadPolicy(lerobotCheckpoint(t))
  t.teardown(() => policy.close())
  t.same(
    policy.spec.cameras.map(({ key, slot, required }) => [key, slot, required]),
    [
      ['observation.images.image', 'base_0_rgb', false],
      ['observation.images.image2', 'left_wrist_0_rgb', false],
    ],
  )
  t.same(
    policy.spec.state.map(({ key, size }) => [key, size]),
    [['observation.state', 8]],
  )
  t.same(policy.spec.prompt, { key: 'task', required: true, lerobotBatch: true })
  t.equal(policy.actionSize, 7)
  t.equal(policy.defaultSteps, 5)
  t.equal(policy.model.actionHorizon, 10)

  const { actionHorizon: horizon, actionDim } = policy.model
  const parser = new RequestParser(policy.spec, { horizon, actionDim, actionSize: 7 }, { maxImages: 8 })
  const pixels = { data: Buffer.alloc(12).toString('base64'), encoding: 'rgb8', width: 2, height: 2 }
  const body = {
    observation: { images: { image: pixels, image2: pixels }, state: Array(8).fill(0) },
    task: 'stack',
  }
  const parsed = parser.observation(body, 'json')
  t.same(Object.keys(parsed.images), ['observation.images.image', 'observation.images.image2'], 'a dot nests')
  t.equal((await policy.prepare(parsed)).row.images[0]?.length, 150528)

  const prepared = await policy.prepare(observation())
  const [low, high] = [stats('state', 'q01'), stats('state', 'q99')]
  const raw = observation().state['observation.state'] as Float64Array
  const { fround } = Math
  const expected = raw.map((x, i) => {
    const [from, to] = [low[i] as number, high[i] as number]
    return fround(fround((2 * fround(fround(x) - from)) / fround(to - from)) - 1)
  })
  t.same(prepared.normalisedState.subarray(0, 8), expected, 'float32, and no epsilon')
  t.same(
    prepared.row.images.map(image => image?.[0] ?? null),
    [9, 9, null],
  )
  const chunk = policy.finish(new Float32Array(320), prepared)
  const middle = stats('actions', 'q01').map((low, i) => (low + (stats('actions', 'q99')[i] as number)) / 2)
  t.ok(middle.every((x, i) => Math.abs(x - (chunk.actions[i] as number)) < 1e-9))
})

t.test('MEAN_STD, renamed cameras, relative actions and padded prompt states', async t => {
  const directory = lerobotCheckpoint(t, 'MEAN_STD')
  const plain = await loadPolicy(directory)
  t.teardown(() => plain.close())
  const zeros = await plain.prepare(observation())
  const raw = zeros.state
  const [mean, std] = [stats('state', 'mean'), stats('state', 'std')]
  const { fround } = Math
  t.same(
    zeros.normalisedState.subarray(0, 8),
    raw.map((x, i) => fround(fround(x - (mean[i] as number)) / fround((std[i] as number) + fround(1e-8)))),
  )
  t.ok(
    plain.finish(new Float32Array(320), zeros).actions.every((x, i) => x === stats('actions', 'mean')[i % 7]),
  )

  const configure = (path: string, step: string, settings: Json) =>
    editJson(join(directory, path), file => {
      const found = (file['steps'] as Json[]).find(({ registry_name }) => registry_name === step) as Json
      found['config'] = settings
    })
  configure('policy_preprocessor.json', 'relative_actions_processor', {
    enabled: true,
    exclude_joints: ['Gripper'],
    action_names: ['x', 'y', 'z', 'roll', 'pitch', 'yaw', 'left_gripper'],
  })
  configure('policy_postprocessor.json', 'absolute_actions_processor', { enabled: true })
  editJson(join(directory, 'policy_preprocessor.json'), file => {
    const [rename] = file['steps'] as Json[]
    ;(rename as Json)['config'] = { rename_map: { 'observation.images.front': 'observation.images.image' } }
  })
  writeJson(join(directory, 'policy.json'), {
    format: 'turbo-pi.policy/1',
    name: 'cups',
    paddedPromptState: true,
    defaultPrompt: 'stack the cups',
  })
  const policy = await loadPolicy(directory)
  t.teardown(() => policy.close())
  t.equal(policy.name, 'cups')
  t.equal(policy.spec.cameras[0]?.key, 'observation.images.front')
  t.match(policy.spec.prompt, { key: 'task', required: false, default: 'stack the cups' })
  const { images, state } = observation()
  const front = images['observation.images.image']
  const prepared = await policy.prepare({
    state,
    images: { ...images, ...(front && { 'observation.images.front': front }) },
  })
  t.equal(
    prepared.row.tokens.length > zeros.row.tokens.length + 24,
    true,
    '24 more numbers stand in the prompt',
  )
  const chunk = policy.finish(new Float32Array(320), prepared).actions
  for (let i = 0; i < 7; i++)
    t.equal(
      chunk[i],
      (stats('actions', 'mean')[i] as number) + (i < 6 ? (raw[i] as number) : 0),
      `action ${i}`,
    )
})

t.test('LeRobot checkpoints under openpi’s rules, and damaged ones', async t => {
  const planted = async (
    plant: (directory: string) => unknown,
    check: string | string[],
    code: string,
    message: RegExp,
    options: PolicyOptions = {},
  ) => {
    const directory = lerobotCheckpoint(t)
    plant(directory)
    await refused(t, directory, options, check, code, message)
  }
  const config = (directory: string) => join(directory, 'config.json')
  const pre = (directory: string) => join(directory, 'policy_preprocessor.json')
  const state = (directory: string) =>
    join(directory, 'policy_preprocessor_step_3_normalizer_processor.safetensors')
  await planted(
    () => {},
    'config',
    POLICY,
    /LeRobot checkpoint.*openpi's config pi05_libero would serve it wrongly/,
    { config: 'pi05_libero' },
  )
  await planted(() => {}, 'config', POLICY, /belongs to openpi's/, {
    normStats: golden('policies/pi05_libero/norm_stats.json'),
  })
  await planted(d => rmSync(pre(d)), 'config', NORM_STATS, /policy_preprocessor\.json is missing/)
  await planted(
    d => editTensors(state(d), x => x.delete('observation.state.q01')),
    'norm stats',
    NORM_STATS,
    /state has no q01/,
  )
  await planted(
    d =>
      editTensors(state(d), x => {
        for (const stat of ['mean', 'q01']) x.delete(`observation.state.${stat}`)
      }),
    'norm stats',
    NORM_STATS,
    /neither observation\.state\.mean .* nor observation\.state\.q01/,
  )
  await planted(
    d => editTensors(state(d), x => x.set('observation.state.q01', float32([0]))),
    'norm stats',
    NORM_STATS,
    /q01 has 1 numbers, mean has 8/,
  )
  const edit = (path: (d: string) => string, change: (value: Json) => void) => (d: string) =>
    editJson(path(d), change)
  await planted(
    edit(config, c => Object.assign(c, { type: 'smolvla' })),
    ['config', 'model config'],
    POLICY,
    /type is "smolvla"/,
  )
  await planted(
    edit(config, c => Object.assign(c, { use_visual_memory: true })),
    'config',
    POLICY,
    /use_visual_memory/,
  )
  const step = (name: string, change: (config: Json) => void, path = pre) =>
    edit(path, c => {
      const found = (c['steps'] as Json[]).find(({ registry_name }) => registry_name === name) as Json
      change(found['config'] as Json)
    })
  await planted(
    step('relative_actions_processor', c => Object.assign(c, { enabled: true })),
    'config',
    POLICY,
    /relative actions are off, but on in .*policy_preprocessor/,
  )
  await planted(
    edit(pre, c => (c['steps'] as Json[]).push({ class: 'my.Step', config: {} })),
    'config',
    POLICY,
    /the step my\.Step is not supported/,
  )
  await planted(
    edit(config, c => Object.assign(c, { image_resolution: [384, 384] })),
    'config',
    POLICY,
    /image_resolution is \[384,384\]; the network takes 224/,
  )
  const normaliser = (change: (config: Json) => void) =>
    edit(pre, c => change((c['steps'] as Json[])[3]?.['config'] as Json))
  await planted(
    normaliser(c => Object.assign(c, { eps: 1e-6 })),
    'config',
    POLICY,
    /eps is 0\.000001/,
  )
  await planted(
    normaliser(c => Object.assign(c['norm_map'] as Json, { VISUAL: 'MEAN_STD' })),
    'config',
    POLICY,
    /norm_map\.VISUAL is MEAN_STD/,
  )
  await planted(
    normaliser(c => Object.assign(c['norm_map'] as Json, { STATE: 'MIN_MAX' })),
    'config',
    POLICY,
    /norm_map\.STATE is "MIN_MAX"/,
  )
  const features = (change: (features: Json) => void) =>
    edit(config, c => change(c['input_features'] as Json))
  await planted(
    features(f =>
      Object.assign(f, {
        'observation.images.a': { type: 'VISUAL' },
        'observation.images.b': { type: 'VISUAL' },
      }),
    ),
    'config',
    POLICY,
    /names 4 cameras/,
  )
  await planted(
    features(f => Object.assign(f, { 'observation.state': { type: 'STATE', shape: [6] } })),
    'state statistics',
    NORM_STATS,
    /state statistics have 8 numbers, but this embodiment's state has 6/,
  )
})
