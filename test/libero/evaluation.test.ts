import { appendFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Safetensors } from '../../src/storage/safetensors.js'
import { type Axes, conditionsOf } from '../../tools/libero/eval/conditions.js'
import { EpisodeFile, type EpisodeResult } from '../../tools/libero/eval/episodes.js'
import { faultOf, MUTATION_NAMES, mutatedPolicy } from '../../tools/libero/eval/mutations.js'
import { compared, report } from '../../tools/libero/eval/report.js'
import { repositoryPath } from '../support/served-policy.js'

const NONE: Axes = { base: 'cpu:fp32', backends: [], steps: [], delay: [], strategy: [], mutations: [] }
const setup = {
  suite: 'libero_spatial',
  tasks: ['pick up the bowl', 'pick up the other bowl'],
  model: '0123456789abcdef',
  policy: 'a policy',
  execute: 5,
}
const episode = (condition: string, task: number, number: number, solved: boolean): EpisodeResult => ({
  ...{ condition, task, episode: number, solved, steps: solved ? 90 : 220 },
  ...{ starved: 0, calls: [10, 20, 30], seconds: 5 },
})

t.test('one axis is changed at a time, and the default is played first and once', async t => {
  const names = (axes: Partial<Axes>) => conditionsOf({ ...NONE, ...axes }).map(({ name }) => name)
  t.same(names({}), ['cpu:fp32, 10 steps'])
  t.same(names({ backends: ['cpu:fp32', 'cpu:int8', 'cuda:bf16'] }), [
    'cpu:fp32, 10 steps',
    'cpu:int8, 10 steps',
    'cuda:bf16, 10 steps',
  ])
  t.same(names({ base: 'cuda:bf16', steps: [10, 3] }), ['cuda:bf16, 10 steps', 'cuda:bf16, 3 steps'])
  t.same(names({ steps: [10, 3], mutations: ['swapped-cameras'] }), [
    'cpu:fp32, 10 steps',
    'cpu:fp32, 3 steps',
    'cpu:fp32, 10 steps, swapped-cameras',
  ])
  t.same(names({ delay: [0, 2], strategy: ['sync', 'rtc'] }), [
    'cpu:fp32, 10 steps',
    'cpu:fp32, 10 steps, delay 0 rtc',
    'cpu:fp32, 10 steps, delay 2 sync',
    'cpu:fp32, 10 steps, delay 2 rtc',
  ])
  t.throws(() => names({ backends: ['cpu:fp7'] }), /--backends takes .*int8.*, got fp7/)
  t.throws(() => names({ mutations: ['swapped'] }), /--mutations takes .*swapped-cameras/)
})

t.test('two conditions are compared by the episodes that both have played', async t => {
  const before = [true, true, true, false].map((solved, number) => episode('a', 0, number, solved))
  const after = [true, false, false, true].map((solved, number) => episode('b', 0, number, solved))
  const { p, ...counts } = compared(before, [...after, episode('b', 1, 0, false)])
  t.same(counts, { pairs: 4, lost: 2, won: 1 })
  t.equal(p, 1)
})

t.test('the report counts by condition and by task', async t => {
  const conditions = conditionsOf({ ...NONE, mutations: ['inverted-gripper'] })
  const [right, wrong] = conditions.map(({ name }) => name) as [string, string]
  const episodes = [0, 1, 2, 3, 4, 5].flatMap(number => [
    episode(right, 0, number, true),
    episode(wrong, 0, number, false),
  ])
  const text = report(setup, conditions, [...episodes, episode(right, 1, 0, false)])
  t.match(text, /cpu:fp32, 10 steps +\| 6\/7 = 85\.7 % \(48\.7–97\.4\) +\| +90\.0 \| +20\.0 \| +30\.0 \|/)
  t.match(text, /inverted-gripper +\| +0\/6 = 0\.0 % .*0 won, 6 lost of 6 +\| +0\.031 \|/)
  t.match(text, /pick up the bowl +\| +6\/6 +\| +0\/6 +\|/)
  t.match(text, /pick up the other bowl +\| +0\/1 +\| +- +\|/)
  t.match(text, 'inverted-gripper: the gripper’s sign inverted')
})

t.test('episodes are kept as they end, and gone on with', async t => {
  const directory = join(t.testdir({}), 'out')
  const file = new EpisodeFile(directory, setup)
  file.add(episode('a', 1, 3, true))
  appendFileSync(join(directory, 'episodes.jsonl'), '{"condition":"a","task":1,"epis')
  const again = new EpisodeFile(directory, setup)
  t.same(again.episodes, [episode('a', 1, 3, true)], 'a line that was cut off is played again')
  again.add(episode('b', 0, 0, false))
  t.equal(new EpisodeFile(directory, setup).episodes.length, 2)
  t.ok(again.has('a', 1, 3))
  t.notOk(again.has('b', 1, 3))
  t.throws(() => new EpisodeFile(directory, { ...setup, execute: 4 }), /is of another setup/)
})

t.test('every fault of the client is one that the client knows', async t => {
  const source = readFileSync(repositoryPath('tools/libero/faults.py'), 'utf8')
  const known = [...source.matchAll(/^ {4}"([a-z-]+)": Fault\(/gm)].map(([, name]) => name)
  t.same(known.sort(), [...new Set(MUTATION_NAMES.map(faultOf))].sort())
})

t.test('every mutation can be made of the policy that the suite ships', async t => {
  const directory = t.testdir({})
  for (const name of MUTATION_NAMES) {
    const policy = await mutatedPolicy(name, repositoryPath('policies/libero-spatial'), directory, {})
    t.equal(policy.model.actionHorizon, 10, name)
    await policy.close()
  }
})

t.test('mutations of the policy change what they say, and nothing else', async t => {
  const source = repositoryPath('policies/tabletop')
  const directory = t.testdir({ another: {} })
  const right = await mutatedPolicy('none', source, directory, { defaultSteps: 3 })
  t.equal(right.defaultSteps, 3)
  for (const name of ['zscore-for-quantile', 'no-state-in-prompt'] as const)
    for (const [policies, into] of [
      [source, directory],
      [repositoryPath('policies/libero-spatial'), join(directory, 'another')],
    ] as const) {
      const policy = await mutatedPolicy(name, policies, into, {})
      t.not(policy.identity, right.identity, `${name} of ${policies}, which may name its config`)
      await policy.close()
    }
  const wrong = await mutatedPolicy('kv-of-the-layer-before', source, directory, {})
  const [before, after] = [right, wrong].map(({ weightsPath }) => Safetensors.open(weightsPath))
  const changed = [...before!.tensors.keys()].filter(
    name => !Buffer.from(before!.float32(name).buffer).equals(Buffer.from(after!.float32(name).buffer)),
  )
  t.same(changed.map(name => name.replace(/.*layers/, 'layers')).sort(), [
    'layers.1.self_attn.k_proj.weight',
    'layers.1.self_attn.v_proj.weight',
    'layers.2.self_attn.k_proj.weight',
    'layers.2.self_attn.v_proj.weight',
    'layers.3.self_attn.k_proj.weight',
    'layers.3.self_attn.v_proj.weight',
  ])
  for (const weights of [before, after]) weights!.close()
  for (const policy of [right, wrong]) await policy.close()
})
