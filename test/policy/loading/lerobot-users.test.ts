import { join } from 'node:path'
import t, { type Test } from 'tap'
import { decodeMsgpack } from '../../../src/contract/msgpack.js'
import { RequestParser } from '../../../src/contract/parse.js'
import { checkPolicy, loadPolicy } from '../../../src/policy/loading/load.js'
import type { Policy } from '../../../src/policy/policy.js'
import {
  editJson,
  editTensors,
  type Json,
  lerobotCheckpoint,
  readJson,
  writeJson,
} from '../../support/checkpoint.js'
import { editStep, userBody, userCheckpoint, userServer } from '../../support/users.js'

const PRE = 'policy_preprocessor.json'
const POST = 'policy_postprocessor.json'

/** Numbers of row 0 from `from` on; LeRobot's time grid moves them by less than a thousandth against openpi's. */
const begins = (actions: Float64Array | undefined, from: number, ...expected: number[]) =>
  expected.every((x, i) => Math.abs(x - (actions?.[from + i] ?? Number.NaN)) < 1e-3)

async function prepare(t: Test, policy: Policy, body: string) {
  t.teardown(() => policy.close())
  const { actionHorizon: horizon, actionDim } = policy.model
  const shape = { horizon, actionDim, actionSize: policy.actionSize }
  const { options: _, ...fields } = decodeMsgpack(userBody(body)) as Json
  return policy.prepare(
    new RequestParser(policy.spec, shape, { maxImages: 8 }).observation(fields, 'msgpack'),
  )
}

t.test('a fine-tune that keeps the base model’s features has the state of its statistics', async t => {
  const directory = userCheckpoint(t, 'lerobot_so101_from_pi05_base')
  const { post } = await userServer(t, directory)
  const { actions, error } = await post(userBody('lerobot_so101_observation'))
  t.equal(error, undefined)
  t.ok(begins(actions, 0, -25.2841, 0.0572, -3.6231), `${actions?.subarray(0, 3)}`)
  const policy = await loadPolicy(directory)
  const { row, normalisedState } = await prepare(t, policy, 'lerobot_so101_observation')
  t.same(policy.spec.state, [{ key: 'observation.state', size: 6, description: 'state of the robot' }])
  t.same(
    row.images.map(image => image !== null),
    [true, true, false],
    'the third camera is masked',
  )
  t.ok(normalisedState.subarray(6).every(x => x === 0))
})

t.test('cameras that an observation lacks are masked, and one is needed', async t => {
  const directory = userCheckpoint(t, 'lerobot_so101_two_of_three_cameras')
  const { post, stream } = await userServer(t, directory)
  for (const wire of [post, stream]) {
    const { actions, error } = await wire(userBody('lerobot_so101_observation'))
    t.equal(error, undefined)
    t.ok(begins(actions, 0, -43.1916, 1.7422, -2.3986), `${actions?.subarray(0, 3)}`)
  }
  const policy = await loadPolicy(directory)
  t.teardown(() => policy.close())
  await t.rejects(
    policy.prepare({ images: {}, state: { 'observation.state': new Float64Array(6) }, prompt: 'pick' }),
    {
      code: 'OBSERVATION_INVALID',
      message: /^\/observation\/images\/top is missing, and so is every other camera/,
    },
  )
})

t.test('joints that the saved relative step names stay absolute', async t => {
  const directory = userCheckpoint(t, 'lerobot_relative_names_only_in_processor')
  const { post } = await userServer(t, directory)
  const { actions, error } = await post(userBody('lerobot_relative_state_60'))
  t.equal(error, undefined)
  t.ok(begins(actions, 6, 15.1867), `${actions?.subarray(0, 7)}`)

  editJson(join(directory, 'config.json'), config => {
    Object.assign(config, { relative_exclude_joints: ['j0'], use_relative_actions: false })
  })
  const policy = await loadPolicy(directory)
  const prepared = await prepare(t, policy, 'lerobot_relative_state_60')
  const { actions: chunk } = policy.finish(new Float32Array(320), prepared)
  const absolute = userCheckpoint(t, 'lerobot_relative_names_only_in_processor')
  editStep(absolute, PRE, 'relative_actions_processor', step => Object.assign(step, { enabled: false }))
  editStep(absolute, POST, 'absolute_actions_processor', step => Object.assign(step, { enabled: false }))
  const other = await loadPolicy(absolute)
  t.teardown(() => other.close())
  const plain = other.finish(new Float32Array(320), prepared).actions
  t.same(
    [...chunk.subarray(0, 7)],
    [...plain.subarray(0, 7)].map((x, i) => (i < 6 ? x + (prepared.state[i] as number) : x)),
  )
  const notes = checkPolicy(directory).filter(({ status }) => status === 'note')
  t.match(
    notes.map(({ detail }) => detail),
    [
      /use_relative_actions false, .*policy_preprocessor\.json has relative_actions_processor\.enabled true/,
      /relative_exclude_joints \["j0"\], .* has exclude_joints \["gripper"\]: the saved processor counts/,
    ],
  )
})

t.test('the saved tokenizer step says how long a prompt may be', async t => {
  const directory = userCheckpoint(t, 'lerobot_token_length_48_vs_200')
  const notes: string[] = []
  const policy = await loadPolicy(directory, { onNote: note => notes.push(note) })
  const { row, truncated } = await prepare(t, policy, 'lerobot_long_task')
  t.equal(policy.model.maxTokenLength, 200)
  t.equal(truncated, false)
  t.ok(row.tokens.length > 48)
  t.match(notes, [
    /config\.json says tokenizer_max_length 48, .*policy_preprocessor\.json has max_length 200/,
  ])

  editJson(join(directory, 'config.json'), config => Object.assign(config, { tokenizer_max_length: 200 }))
  const agreed = await loadPolicy(directory, { onNote: note => notes.push(note) })
  t.same((await prepare(t, agreed, 'lerobot_long_task')).row, row)
  t.equal(notes.length, 1, 'nothing odd where they agree')
})

t.test('a saved mode of normalisation wins over config.json’s', async t => {
  const directory = lerobotCheckpoint(t)
  editJson(join(directory, 'config.json'), config => {
    Object.assign(config['normalization_mapping'] as Json, { STATE: 'MEAN_STD' })
  })
  const notes: string[] = []
  const policy = await loadPolicy(directory, { onNote: note => notes.push(note) })
  t.teardown(() => policy.close())
  t.match(notes, [/normalization_mapping\.STATE "MEAN_STD", .* has norm_map\.STATE "QUANTILES"/])
})

t.test(
  'a joint that never moves lands in one bin, whatever the precision that the state comes in',
  async t => {
    const { post } = await userServer(t, userCheckpoint(t, 'lerobot_constant_joint'))
    const single = await post(userBody('lerobot_constant_joint_state_float32'))
    t.ok(begins(single.actions, 0, -42.3262, 10.5342, 15.6025), `${single.actions?.subarray(0, 3)}`)
    t.same((await post(userBody('lerobot_constant_joint_state_float64'))).actions, single.actions)

    const zscore = userCheckpoint(t, 'lerobot_constant_joint')
    editJson(join(zscore, 'config.json'), config => {
      Object.assign(config, { normalization_mapping: { STATE: 'MEAN_STD', ACTION: 'QUANTILES' } })
    })
    editStep(zscore, PRE, 'normalizer_processor', ({ norm_map }) => {
      ;(norm_map as Json)['STATE'] = 'MEAN_STD'
    })
    const policy = await loadPolicy(zscore)
    const [a, b] = [
      await prepare(t, policy, 'lerobot_constant_joint_state_float32'),
      await prepare(t, policy, 'lerobot_constant_joint_state_float64'),
    ]
    t.same(a.normalisedState, b.normalisedState, 'MEAN_STD')
  },
)

const STATES = [
  'policy_preprocessor_step_3_normalizer_processor.safetensors',
  'policy_postprocessor_step_0_unnormalizer_processor.safetensors',
]

/** Leaves some statistics out of both state files. */
const without = (directory: string, left: readonly string[]) => {
  for (const file of STATES)
    editTensors(join(directory, file), tensors => {
      for (const name of [...tensors.keys()])
        if (left.some(stat => name.endsWith(`.${stat}`))) tensors.delete(name)
    })
  return directory
}

t.test('QUANTILES needs q01 and q99 alone, MEAN_STD mean and std', async t => {
  const body = userBody('lerobot_nested_keys')
  const whole = await (await userServer(t, lerobotCheckpoint(t))).post(body)
  const percentiles = without(lerobotCheckpoint(t), ['mean', 'std', 'min', 'max'])
  t.same(
    checkPolicy(percentiles).filter(({ status }) => status === 'failed'),
    [],
  )
  const { actions, error } = await (await userServer(t, percentiles)).post(body)
  t.equal(error, undefined)
  t.same(actions, whole.actions)

  const moments = without(lerobotCheckpoint(t, 'MEAN_STD'), ['mean', 'std'])
  const message = /state has no mean and std, which .* needs \(z-score normalisation\)/
  await t.rejects(loadPolicy(moments), { code: 'NORM_STATS_INVALID', message })
})

t.test('what LeRobot 0.4 saved, without relative steps, is served', async t => {
  const directory = lerobotCheckpoint(t)
  for (const file of [PRE, POST]) {
    const pipeline = readJson(join(directory, file))
    const steps = (pipeline['steps'] as Json[]).filter(
      step => !/relative|absolute/.test(String(step['registry_name'])),
    )
    writeJson(join(directory, file), { ...pipeline, steps })
  }
  const policy = await loadPolicy(directory)
  t.teardown(() => policy.close())
  t.equal(policy.actionSize, 7)
})
