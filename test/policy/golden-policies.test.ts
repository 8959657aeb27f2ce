import { readFileSync } from 'node:fs'
import t from 'tap'
import { command as verify } from '../../src/commands/verify/verify.js'
import { decodeMsgpack } from '../../src/contract/msgpack.js'
import { RequestParser } from '../../src/contract/parse.js'
import { loadPolicy } from '../../src/policy/loading/load.js'
import { Safetensors } from '../../src/storage/safetensors.js'
import { golden, openpiCheckpoint, scratch } from '../support/checkpoint.js'

const folder = golden('policies')

interface Info {
  config: string
  action_horizon: number
  use_quantile_norm: boolean
  discrete_state_input: boolean
  policy_metadata: Record<string, unknown> | null
}

for (const name of ['pi05_libero', 'pi05_droid', 'pi05_aloha', 'pi05_full_droid_jointpos'])
  t.test(`${name}: raw client bytes become the reference's inputs of the network`, async t => {
    const info = JSON.parse(readFileSync(`${folder}/${name}/info.json`, 'utf8')) as Info
    const policy = await loadPolicy(openpiCheckpoint(t), {
      config: info.config,
      normStats: `${folder}/${name}/norm_stats.json`,
      actionHorizon: info.action_horizon,
    })
    t.teardown(() => policy.close())
    t.same(policy.metadata, info.policy_metadata ?? {})
    t.equal(policy.model.actionHorizon, info.action_horizon)

    const { actionHorizon: horizon, actionDim } = policy.model
    const parser = new RequestParser(
      policy.spec,
      { horizon, actionDim, actionSize: policy.actionSize },
      { maxImages: 8 },
    )
    const message = decodeMsgpack(readFileSync(`${folder}/${name}/obs.msgpack`))
    const prepared = await policy.prepare(parser.observation(message, 'msgpack'))

    const expected = Safetensors.open(`${folder}/${name}/expected.safetensors`)
    t.teardown(() => expected.close())
    const state = new Float64Array(expected.bytes('model_in.state').buffer)
    t.ok(prepared.normalisedState.every((value, i) => Math.abs(value - (state[i] as number)) <= 1e-12))
    const mask = expected.bytes('model_in.token_mask')
    const tokens = new BigInt64Array(expected.bytes('model_in.tokens').buffer)
    t.same([...prepared.row.tokens], [...tokens].filter((_, i) => mask[i]).map(Number))
    t.equal(prepared.truncated, false)
    policy.model.cameraSlots.forEach((slot, i) => {
      const image = prepared.row.images[i]
      t.equal(image != null, expected.bytes(`model_in.image_mask.${slot}`)[0] === 1, `${slot} mask`)
      if (image)
        t.ok(Buffer.from(image).equals(expected.bytes(`model_in.image.${slot}`)), `${slot} identical`)
    })
  })

t.test('raw client bytes to robot actions, through the command', async t => {
  process.env['TURBO_PI_CACHE'] = scratch(t)
  const lines: string[] = []
  t.intercept(console, 'log', { value: (line: string) => lines.push(line) })
  const arguments_ = ['--policy-cases', folder, '--models', golden('.')]
  t.equal(await verify.run(arguments_), 0, lines.join('\n'))
  t.match(lines.join('\n'), /all 4 cases passed/)
  const one = ['--policy-cases', `${folder}/pi05_libero`, '--models', golden('.')]
  t.equal(await verify.run([...one, '--tolerance', '1e-9']), 1, 'no engine is that exact')
  t.equal(
    await verify.run(['--policy-cases', folder, '--models', scratch(t)]),
    1,
    'a case that cannot run is no success',
  )
  t.match(lines.join('\n'), /skipped: --models: there is no .*model_pi05_tiny/)
})
