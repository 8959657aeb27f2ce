import { mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import t, { type Test } from 'tap'
import type { TSchema } from 'typebox'
import { init as write } from '../../src/commands/init/init.js'
import { DESCRIPTION } from '../../src/commands/init/options.js'
import { read } from '../../src/commands/kit/command.js'
import { compileCheck } from '../../src/contract/validate.js'
import { readEmbodiment } from '../../src/policy/embodiment.js'
import { loadPolicy } from '../../src/policy/loading/load.js'
import {
  editJson,
  type Json,
  lerobotCheckpoint,
  openpiCheckpoint,
  readJson,
  root,
  writeJson,
} from '../support/checkpoint.js'
import { writeJaxCheckpoint } from '../support/orbax.js'

const run = async (argv: readonly string[], terminal?: Parameters<typeof write>[1]) =>
  write(read(DESCRIPTION, argv), terminal)

const checkPublished = (name: string) =>
  compileCheck(JSON.parse(readFileSync(join(root, 'docs/reference', name), 'utf8')) as TSchema)
const checkManifest = checkPublished('policy.schema.json')

/** Runs the command and gives what it wrote and printed; the file fits the published schema. */
async function init(
  t: Test,
  directory: string,
  argv: readonly string[],
  terminal?: Parameters<typeof run>[1],
) {
  const printed: string[] = []
  const log = t.intercept(console, 'log', { value: (line: string) => printed.push(line) })
  const code = await run([directory, ...argv], terminal).finally(() => log.restore())
  const manifest = readJson(join(directory, 'policy.json'))
  checkManifest(manifest)
  t.equal(manifest['$schema'], 'urn:turbo-pi:schema:policy:1')
  return { code, manifest, printed: printed.join('\n') }
}

/** A terminal at which somebody types the answers, one after each question, and then ends the input. */
function typed(answers: readonly string[]) {
  const input = new PassThrough()
  const left = [...answers]
  let text = ''
  const output = new Writable({
    write(chunk: Buffer, _, done) {
      text += chunk.toString()
      if (text.endsWith(': ')) {
        const answer = left.shift()
        if (answer === undefined) input.end()
        else input.write(`${answer}\n`)
      }
      done()
    },
  })
  return { input, output, left, text: () => text }
}

t.test('what a checkpoint says of itself is taken without a question', async t => {
  const directory = openpiCheckpoint(t)
  const { code, manifest, printed } = await init(t, directory, ['--name', 'cups'])
  t.equal(code, 0)
  t.match(printed, /wrote .*policy\.json[\s\S]*Nothing wrong was found\./)
  t.same(Object.keys(manifest), ['$schema', 'format', 'name', 'config'])
  t.equal(manifest['config'], 'pi05_libero')
  const policy = await loadPolicy(directory)
  t.teardown(() => policy.close())
  t.equal(policy.name, 'cups')
  await t.rejects(run([directory]), { code: 'POLICY_INVALID', message: /policy\.json is there already/ })
})

const ROBOT = [
  ...['--camera', 'base_0_rgb=cameras.desk', '--camera', 'left_wrist_0_rgb=cameras.hand?'],
  ...['--state', 'joints:7:joint angles in radians,gripper:1', '--prompt-key', 'instruction'],
  ...['--offsets', '6,-1', '--discrete-state', 'no', '--robot', 'desk-arm'],
]
const CAMERAS = [
  ['cameras.desk', 'base_0_rgb', true],
  ['cameras.hand', 'left_wrist_0_rgb', false],
]

t.test('a robot of one’s own by options: cameras, state, offsets, joints with units and limits', async t => {
  const directory = openpiCheckpoint(t)
  const joints = ['a:rad:-0.01..0.01', 'b:rad:..2.5', 'c:rad', 'd', 'e', 'f', 'gripper::0..1']
  const flags = [...ROBOT, ...joints.flatMap(joint => ['--joint', joint]), '--default-prompt', 'tidy up']
  const { code, manifest } = await init(t, directory, flags)
  t.equal(code, 0)
  const embodiment = manifest['embodiment'] as Json
  const cameras = embodiment['cameras'] as Json[]
  t.same(
    cameras.map(({ key, slot, required }) => [key, slot, required]),
    CAMERAS,
  )
  t.same(embodiment['deltaMask'], [true, true, true, true, true, true, false])
  t.match(manifest, { discreteState: false, defaultPrompt: 'tidy up' })
  t.same((manifest['joints'] as Json[]).slice(0, 3), [
    { name: 'a', unit: 'rad', min: -0.01, max: 0.01 },
    { name: 'b', unit: 'rad', max: 2.5 },
    { name: 'c', unit: 'rad' },
  ])
  t.same((manifest['joints'] as Json[]).at(-1), { name: 'gripper', min: 0, max: 1 })
  const policy = await loadPolicy(directory)
  t.teardown(() => policy.close())
  t.same(
    policy.spec.state.map(({ key, size, description }) => [key, size, description]),
    [
      ['joints', 7, 'joint angles in radians'],
      ['gripper', 1, 'gripper'],
    ],
  )
  t.equal(policy.spec.prompt.key, 'instruction')
  const data = new Uint8Array(150_528).fill(90)
  const prepared = await policy.prepare({
    images: { 'cameras.desk': { kind: 'array', dtype: 'uint8', shape: [224, 224, 3], data } },
    state: { joints: new Float64Array(7), gripper: new Float64Array(1) },
  })
  const chunk = policy.finish(new Float32Array(320).fill(0.9), prepared)
  t.match(chunk.guard.findings[0], { kind: 'joint_position', joint: 'a (rad)' }, 'the limits are watched')
})

t.test('the same robot by answers; an answer that will not do is asked for again', async t => {
  const directory = openpiCheckpoint(t)
  const terminal = typed([
    ...['cups', 'none', 'desk-arm', 'cameras.desk', '?', 'cameras.hand?', ''],
    ...['joints:7,gripper:2', 'joints:7:joint angles in radians,gripper:1', 'instruction'],
    ...['', '7,-1', '6,-1', 'no', '', 'yes'],
    ...['a:rad:1..-1', 'a:rad:-1..1', 'b', '', 'd', 'e', 'f', 'g'],
  ])
  const { code, manifest } = await init(t, directory, [], terminal)
  t.equal(code, 0)
  t.same(terminal.left, [])
  const asked = terminal.text()
  t.match(asked, /openpi config that it was trained with \(it may be pi05_libero; .*\) \[pi05_libero\]: /)
  t.match(asked, /Expected parts of 8 numbers in all, as the statistics have \(these have 9\)\./)
  t.match(asked, /Expected none, or runs as of openpi's make_bool_mask/)
  t.match(asked, /Expected a least value below the largest\./)
  const flagged = openpiCheckpoint(t)
  const names = ['a:rad:-1..1', 'b', 'joint_3', 'd', 'e', 'f', 'g'].flatMap(joint => ['--joint', joint])
  const given = await init(t, flagged, ['--name', 'cups', ...ROBOT, ...names])
  t.same(manifest, given.manifest, 'answers and options say the same')
})

t.test('an input that ends before the last answer writes nothing', async t => {
  const directory = openpiCheckpoint(t)
  await t.rejects(run([directory], typed(['cups', 'none'])), {
    code: 'CONFIG_INVALID',
    message: /answers ended before the last question; nothing was written/,
  })
  t.throws(() => readFileSync(join(directory, 'policy.json')), { code: 'ENOENT' })
})

t.test('a JAX checkpoint does not say its rows; statistics of another name are named', async t => {
  const directory = openpiCheckpoint(t)
  writeJaxCheckpoint(directory, join(directory, 'model.safetensors'))
  for (const file of ['model.safetensors', 'config.json']) rmSync(join(directory, file))
  await t.rejects(run([directory, ...ROBOT]), { message: /--horizon is missing/ })
  mkdirSync(join(directory, 'assets/me'))
  renameSync(join(directory, 'assets/physical-intelligence/libero'), join(directory, 'assets/me/mine'))
  const { code, manifest } = await init(t, directory, ['--config', 'pi05_libero'])
  t.equal(code, 0)
  t.match(manifest, { config: 'pi05_libero', normStats: 'assets/me/mine/norm_stats.json' })
  rmSync(join(directory, 'policy.json'))
  const own = await init(t, directory, [...ROBOT, '--horizon', '12'])
  t.match(own.manifest, { actionHorizon: 12, normStats: 'assets/me/mine/norm_stats.json' })
  rmSync(join(directory, 'policy.json'))
  const aloha = await init(t, directory, [
    '--config',
    'none',
    '--robot',
    'libero',
    '--horizon',
    '12',
    '--offsets',
    'none',
  ])
  t.equal(aloha.code, 0)
  t.match((aloha.manifest['embodiment'] as Json)['name'], 'libero')
})

t.test('a LeRobot checkpoint says all but the limits of its joints', async t => {
  const directory = lerobotCheckpoint(t)
  editJson(join(directory, 'config.json'), config => {
    config['action_feature_names'] = ['x', 'y', 'z', 'roll', 'pitch', 'yaw', 'gripper']
  })
  const terminal = typed(['no', '', 'yes', '', 'y:m:-0.5..0.5', ...Array<string>(5).fill('')])
  const { code, manifest } = await init(t, directory, ['--name', 'cups'], terminal)
  t.equal(code, 0)
  t.same(Object.keys(manifest), ['$schema', 'format', 'name', 'joints'])
  t.same((manifest['joints'] as Json[]).slice(0, 3), [
    { name: 'x' },
    { name: 'y', unit: 'm', min: -0.5, max: 0.5 },
    { name: 'z' },
  ])
  await t.rejects(run([lerobotCheckpoint(t), '--config', 'pi05_libero']), {
    code: 'CONFIG_INVALID',
    message: /--config is not for this one: the LeRobot checkpoint says it itself/,
  })
})

t.test('without a terminal what is missing is named by its option', async t => {
  const directory = openpiCheckpoint(t)
  const refused = (argv: readonly string[], message: RegExp) =>
    t.rejects(run([directory, ...argv]), { code: 'CONFIG_INVALID', message })
  await refused(['--config', 'none'], /--camera is missing/)
  await refused(
    ROBOT.filter(text => text !== '--offsets' && text !== '6,-1'),
    /--offsets is missing/,
  )
  await refused(
    ['--camera', 'front=cam'],
    /slots base_0_rgb, left_wrist_0_rgb, right_wrist_0_rgb, got "front=cam"/,
  )
  await refused([...ROBOT, '--joint', 'a'], /given 1 times; an action has 7 numbers/)
  await refused(['--offsets', '6,-1'], /--offsets is not for this one: the config pi05_libero says it/)
  await refused(['--config', 'none', '--robot', 'aloha', '--state', 'a:1'], /robot aloha is built in/)
  await t.rejects(run([directory, '--config', 'pi05_libro']), { message: /did you mean pi05_libero/ })
  await t.rejects(run([]), { code: 'CONFIG_INVALID', message: /takes one directory, got none/ })
})

t.test('files that name their schema are read, and joints stand in one place', async t => {
  const directory = openpiCheckpoint(t)
  const { manifest } = await init(t, directory, ROBOT)
  const embodiment = { $schema: 'urn:turbo-pi:schema:embodiment:1', ...(manifest['embodiment'] as Json) }
  const path = join(directory, 'desk-arm.json')
  writeJson(path, embodiment)
  checkPublished('embodiment.schema.json')(readJson(path))
  t.equal(readEmbodiment(path).name, 'desk-arm')
  const joints = Array.from({ length: 7 }, (_, i) => ({ name: `j${i}` }))
  const inline = await loadPolicy(directory)
  writeJson(join(directory, 'policy.json'), { ...manifest, embodiment: 'desk-arm.json' })
  const named = await loadPolicy(directory)
  t.equal(named.identity, inline.identity, 'a schema’s name changes no policy')
  await Promise.all([named.close(), inline.close()])
  writeJson(join(directory, 'policy.json'), { ...manifest, joints, embodiment: { ...embodiment, joints } })
  await t.rejects(loadPolicy(directory), { code: 'POLICY_INVALID', message: /both have "joints"/ })
})
