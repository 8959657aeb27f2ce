import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import type { Observation } from '../../src/contract/observation.js'
import { releasedConfig } from '../../src/families/pi0/config.js'
import { checkEmbodiment, EMBODIMENTS, type Embodiment } from '../../src/policy/embodiment.js'
import { loadPolicy } from '../../src/policy/loading/load.js'
import type { PolicyOptions } from '../../src/policy/loading/openpi.js'
import { PRESETS } from '../../src/policy/loading/presets.js'
import { bundled, golden, openpiCheckpoint, root, writeJson } from '../support/checkpoint.js'
import { refused } from '../support/refused.js'

const image = (value: number) =>
  ({ kind: 'array', dtype: 'uint8', shape: [224, 224, 3], data: new Uint8Array(150528).fill(value) }) as const

const observation = (change: Partial<Observation> = {}): Observation => ({
  images: { 'observation/image': image(1), 'observation/wrist_image': image(2) },
  state: { 'observation/state': new Float64Array(8) },
  prompt: 'pick up the black bowl',
  ...change,
})

async function load(t: Test, directory = bundled, options: PolicyOptions = {}) {
  const policy = await loadPolicy(directory, options)
  t.teardown(() => policy.close())
  return policy
}

t.test('observations that a policy cannot take are refused by field', async t => {
  const policy = await load(t)
  const invalid = (change: Partial<Observation>, message: string) =>
    t.rejects(policy.prepare(observation(change)), { code: 'OBSERVATION_INVALID', message })
  await invalid(
    { images: { 'observation/image': image(1) } },
    '/observation~1wrist_image is required and missing',
  )
  await invalid({ state: {} }, '/observation~1state is required and missing')
  await invalid(
    { state: { 'observation/state': new Float64Array(7) } },
    '/observation~1state must hold 8 numbers, got 7',
  )
  const { prompt: _, ...silent } = observation()
  await t.rejects(policy.prepare(silent), {
    code: 'OBSERVATION_INVALID',
    message: '/prompt is required and missing',
  })
  const empty = await policy.prepare(observation({ prompt: '' }))
  t.equal(empty.row.tokens.length, 2, 'an empty prompt is BOS and a newline')
  const long = await policy.prepare(observation({ prompt: 'bowl '.repeat(800) }))
  t.equal(long.truncated, true)
  t.equal(long.row.tokens.length, 200)
  t.throws(() => policy.finish(new Float32Array(31), empty), { code: 'RUNTIME_FAILED' })

  const prompted = await load(t, bundled, { defaultPrompt: 'fold the towel' })

  t.test('preparation stops between images', async t => {
    const policy = await load(t)
    const photo = await sharp({ create: { width: 300, height: 200, channels: 3, background: 'red' } })
      .png()
      .toBuffer()
    const photos: Observation['images'] = {
      'observation/image': { kind: 'encoded', bytes: photo },
      'observation/wrist_image': {
        kind: 'array',
        dtype: 'uint8',
        shape: [2, 4, 3],
        data: new Uint8Array(24),
      },
    }
    let asked = 0
    const wanted = (times: number) => ({
      throwIfAborted() {
        asked += 1
        if (asked > times) throw new Error('nobody waits')
      },
    })
    await t.rejects(policy.prepare(observation({ images: photos }), wanted(0)), { message: 'nobody waits' })
    asked = 0
    await t.rejects(policy.prepare(observation({ images: photos }), wanted(1)), { message: 'nobody waits' })
    t.equal(asked, 2, 'before each image')
    t.ok(await policy.prepare(observation({ images: photos }), wanted(6)))
  })
  t.same(prompted.spec.prompt, { key: 'prompt', required: false, default: 'fold the towel' })
  const { row } = await policy.prepare(observation({ prompt: 'fold the towel' }))
  t.same((await prompted.prepare(silent)).row.tokens, row.tokens)
})

t.test('a robot of one’s own, from a JSON descriptor', async t => {
  const directory = openpiCheckpoint(t)
  const descriptor: Embodiment = {
    format: 'turbo-pi.embodiment/1',
    name: 'desk-arm',
    cameras: [
      {
        key: 'cameras.desk',
        slot: 'left_wrist_0_rgb',
        required: true,
        layout: 'hwc',
        description: 'camera over the desk',
      },
      {
        key: 'cameras.hand',
        slot: 'base_0_rgb',
        required: false,
        layout: 'hwc',
        description: 'camera in the hand',
      },
    ],
    state: [
      { key: 'joints', size: 7, description: 'angles' },
      { key: 'gripper', size: 1, description: '0 open to 1 closed' },
    ],
    promptKey: 'instruction',
    actionSize: 7,
    deltaMask: [true, true, false],
  }
  writeJson(join(directory, 'desk-arm.json'), descriptor)
  const manifest = {
    format: 'turbo-pi.policy/1',
    name: 'desk',
    embodiment: 'desk-arm.json',
    normStats: 'assets/physical-intelligence/libero/norm_stats.json',
  }
  writeJson(join(directory, 'policy.json'), manifest)
  const policy = await load(t, directory)
  t.equal(policy.spec.embodiment, 'desk-arm')
  t.same(policy.spec.prompt, { key: 'instruction', required: true })
  const joints = Float64Array.of(1, 2, 3, 4, 5, 6, 7)
  const state = { joints, gripper: Float64Array.of(0.5) }
  const prepared = await policy.prepare({ images: { 'cameras.desk': image(5) }, state, prompt: 'tidy up' })
  t.same(
    prepared.row.images.map(pixels => pixels?.[0] ?? null),
    [null, 5, null],
  )
  t.same([...prepared.state], [...joints, 0.5])
  t.equal(prepared.row.tokens.length > 30, true, 'pi0.5 writes the state into the prompt')

  const still = await policy.prepare({
    images: { 'cameras.desk': image(5) },
    state: { joints: new Float64Array(7), gripper: Float64Array.of(0.5) },
    prompt: 'tidy up',
  })
  const [moved, unmoved] = [prepared, still].map(from => policy.finish(new Float32Array(320), from).actions)
  for (let i = 0; i < 70; i++) {
    const offset = i % 7 < 2 ? (joints[i % 7] as number) : 0
    t.ok(Math.abs((moved?.[i] as number) - (unmoved?.[i] as number) - offset) < 1e-12, `action ${i}`)
  }

  writeJson(join(directory, 'policy.json'), { ...manifest, embodiment: descriptor })
  t.same((await load(t, directory)).spec, policy.spec, 'the descriptor may stand in the manifest itself')
  writeJson(join(directory, 'policy.json'), {
    ...manifest,
    embodiment: { ...descriptor, actionSize: 'seven' },
  })
  await refused(t, directory, {}, 'directory', 'POLICY_INVALID', /policy\.json: \/embodiment/)
  writeJson(join(directory, 'policy.json'), manifest)
  writeFileSync(join(directory, 'desk-arm.json'), JSON.stringify({ ...descriptor, camera: [] }))
  await refused(t, directory, {}, 'config', 'POLICY_INVALID', /desk-arm\.json: \/camera is not a key/)
})

t.test('the guide’s descriptor and manifest are valid', async t => {
  const directory = openpiCheckpoint(t)
  const blocks = readFileSync(join(root, 'docs/guides/embodiment.md'), 'utf8').matchAll(/```json\n(.*?)```/gs)
  const [descriptor, manifest, request] = [...blocks].map(([, json]) => JSON.parse(json as string))
  writeJson(join(directory, 'desk-arm.json'), descriptor)
  const files = { tokenizer: 'tokenizer.model', normStats: 'norm_stats.json' }
  writeJson(join(directory, 'policy.json'), { ...manifest, ...files })
  const stats = {
    mean: Array(8).fill(0),
    std: Array(8).fill(1),
    q01: Array(8).fill(-1),
    q99: Array(8).fill(1),
  }
  writeJson(join(directory, 'norm_stats.json'), { norm_stats: { state: stats, actions: stats } })
  const policy = await load(t, directory)
  t.equal(policy.name, 'desk-arm-tidy')
  t.equal(policy.model.actionHorizon, 16)
  t.same(Object.keys(request), ['cameras', 'joints', 'gripper', policy.spec.prompt.key])
})

t.test('a descriptor must fit the network', async t => {
  const model = releasedConfig('pi05')
  const base: Embodiment = structuredClone(EMBODIMENTS.droid)
  const [first, second] = base.cameras
  if (!first || !second) throw new Error('droid has two cameras')
  checkEmbodiment(base, model)
  const wrong = (change: Partial<Embodiment>, message: RegExp) =>
    t.throws(() => checkEmbodiment({ ...base, ...change }, model), { code: 'POLICY_INVALID', message })
  wrong({ promptKey: first.key }, /key observation\/exterior_image_1_left is used twice/)
  wrong({ promptKey: 'options' }, /"options" belongs/)
  wrong({ cameras: [{ ...first, slot: 'top' }] }, /slot top is not one of the network's: base_0_rgb/)
  wrong({ cameras: [first, { ...second, slot: first.slot }] }, /at most one camera/)
  wrong({ cameras: [{ ...first, slot: null }] }, /one slot at least/)
  wrong({ actionSize: 33 }, /action of 33 numbers does not fit the network's 32/)
  wrong({ state: [{ key: 's', size: 40, description: '' }] }, /state of 40 numbers/)
  wrong({ deltaMask: Array<boolean>(9).fill(true) }, /deltaMask has 9 entries/)
  wrong({ jointTransform: 'aloha' }, /14 numbers/)
  for (const embodiment of Object.values(EMBODIMENTS)) checkEmbodiment(embodiment, model)
})

t.test('what the network gives that is not finite is never sent', async t => {
  const policy = await load(t)
  const prepared = await policy.prepare(observation())
  t.throws(() => policy.finish(new Float32Array(320).fill(Number.NaN), prepared), {
    code: 'ACTIONS_NOT_FINITE',
  })
  t.ok(policy.finish(new Float32Array(320).fill(50), prepared).guard.outOfBounds > 0)
})

t.test('presets are openpi’s', async t => {
  const count = (mask: boolean[] | undefined) => mask?.map(bit => (bit ? 'T' : 'F')).join('')
  const row = (name: string) => {
    const preset = PRESETS[name]
    if (!preset) throw new Error(name)
    const { modelType, actionHorizon, discreteState, maxTokenLength, assetId, deltaMask } = preset
    return [modelType, actionHorizon, discreteState, maxTokenLength, assetId, count(deltaMask)]
  }
  t.equal(Object.keys(PRESETS).length, 17)
  t.same(row('pi05_libero'), ['pi05', 10, false, 200, 'physical-intelligence/libero', undefined])
  t.same(row('pi05_droid'), ['pi05', 15, true, 200, 'droid', undefined])
  t.same(row('pi05_full_droid_finetune'), ['pi05', 16, true, 200, 'droid', 'TTTTTTTF'])
  t.same(row('pi05_aloha'), ['pi05', 50, true, 200, 'trossen', 'TTTTTTFTTTTTTF'])
  t.same(row('pi0_libero'), ['pi0', 50, false, 48, 'physical-intelligence/libero', 'TTTTTTF'])
  t.same(row('pi0_droid_jointpos_polaris'), ['pi0', 10, false, 100, 'droid', 'TTTTTTTF'])
  t.equal(PRESETS['pi0_aloha_towel']?.defaultPrompt, 'fold the towel')
  t.same(PRESETS['pi05_aloha']?.metadata, { reset_pose: [0, -1.5, 1.5, 0, 0, 0] })
  const normStats = golden('policies/pi05_aloha/norm_stats.json')
  const aloha = await load(t, openpiCheckpoint(t), { config: 'pi05_aloha', normStats, actionHorizon: 50 })
  t.same(aloha.metadata, { reset_pose: [0, -1.5, 1.5, 0, 0, 0] })
  t.same(
    aloha.spec.cameras.map(camera => camera.layout),
    ['chw', 'chw', 'chw', 'chw'],
  )
})
