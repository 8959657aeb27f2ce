import { cpSync, mkdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { loadPolicy } from '../../src/policy/loading/load.js'
import {
  editJson,
  editTensors,
  float32,
  type Json,
  lerobotCheckpoint,
  makePi0,
  openpiCheckpoint,
  PREFIX,
  readJson,
  scratch,
  type Tensors,
  writeJson,
  writeTensors,
} from '../support/checkpoint.js'
import { refused } from '../support/refused.js'

const LIBERO = { config: 'pi05_libero' }
const STATS = 'assets/physical-intelligence/libero/norm_stats.json'

/** Every fault is planted into a directory that loads. */
function fault(name: string, plant: (directory: string, t: Test) => Promise<void>): void {
  t.test(name, async t => {
    const directory = openpiCheckpoint(t)
    await (await loadPolicy(directory, LIBERO)).close()
    await plant(directory, t)
  })
}

const weights = (directory: string) => join(directory, 'model.safetensors')
const stats = (
  directory: string,
  edit: (stats: Record<'state' | 'actions', Record<string, number[] | null>>) => void,
) => editJson(join(directory, STATS), value => edit(value['norm_stats'] as never))
const every = (value: Json, edit: (list: number[]) => number[]) => {
  for (const key of Object.keys(value)) value[key] = edit(value[key] as number[])
}

const OUT = 'action_out_proj.weight'
const CHECKPOINT = 'CHECKPOINT_INVALID'

fault('a missing tensor', async (directory, t) => {
  editTensors(weights(directory), tensors => tensors.delete(OUT))
  await refused(
    t,
    directory,
    LIBERO,
    'tensors',
    CHECKPOINT,
    'model.safetensors',
    /missing: action_out_proj\.weight/,
  )
})

fault('an extra tensor', async (directory, t) => {
  editTensors(weights(directory), tensors => tensors.set('proprio_history_proj.weight', float32([1, 2])))
  await refused(
    t,
    directory,
    LIBERO,
    'tensors',
    CHECKPOINT,
    /do not belong to a pi05 model.*proprio_history_proj/,
  )
})

fault('a misshaped tensor', async (directory, t) => {
  editTensors(weights(directory), tensors => {
    const tensor = tensors.get(OUT)!
    tensors.set(OUT, { ...tensor, shape: [...tensor.shape].reverse() })
  })
  await refused(
    t,
    directory,
    LIBERO,
    'tensors',
    CHECKPOINT,
    /action_out_proj\.weight has shape \[64, 32\].*\[32, 64\]/,
  )
})

fault('a tensor of integers', async (directory, t) => {
  editTensors(weights(directory), tensors => tensors.set(OUT, { ...tensors.get(OUT)!, dtype: 'I32' }))
  await refused(
    t,
    directory,
    LIBERO,
    'tensors',
    CHECKPOINT,
    /action_out_proj\.weight has dtype I32; expected/,
  )
})

fault('a truncated file', async (directory, t) => {
  truncateSync(weights(directory), statSync(weights(directory)).size - 1000)
  await refused(t, directory, LIBERO, 'weights', CHECKPOINT, /model\.safetensors.*cut short/)
  truncateSync(weights(directory), 5)
  await refused(t, directory, LIBERO, 'weights', CHECKPOINT, /has 5 bytes/)
})

fault('NaN in the weights, in a sampled place and in one that only --deep sees', async (directory, t) => {
  const poison = (name: string, element: number) => (tensors: Tensors) => {
    const { bytes } = tensors.get(name)!
    new DataView(bytes.buffer).setFloat32(element * 4, Number.NaN, true)
  }
  const small = `${PREFIX}.model.vision_tower.vision_model.post_layernorm.bias`
  const intact = openpiCheckpoint(t)
  editTensors(weights(directory), poison(small, 33))
  await refused(
    t,
    directory,
    LIBERO,
    'weight values',
    CHECKPOINT,
    /post_layernorm\.bias .*not finite at element 33/,
  )
  // The embedding is sampled at its start, its end and two places between.
  editTensors(weights(intact), poison(`${PREFIX}.lm_head.weight`, 50_000))
  await (await loadPolicy(intact, LIBERO)).close()
  await refused(
    t,
    intact,
    { ...LIBERO, deep: true },
    'weight values',
    CHECKPOINT,
    /lm_head\.weight .*element 50000/,
  )
})

t.test('infinity in every dtype of weights', async t => {
  const name = 'time_mlp_in.bias'
  const bits = {
    F32: [0, 0, 0x80, 0xff],
    BF16: [0x80, 0x7f],
    F16: [0, 0x7c],
    F64: [0, 0, 0, 0, 0, 0, 0xf0, 0x7f],
  }
  for (const [dtype, infinity] of Object.entries(bits)) {
    const directory = openpiCheckpoint(t)
    editTensors(weights(directory), tensors => {
      const bytes = new Uint8Array(64 * infinity.length)
      tensors.set(name, { dtype: dtype as keyof typeof bits, shape: [64], bytes })
      writeTensors(join(directory, 'finite.safetensors'), tensors)
      bytes.set(infinity, 5 * infinity.length)
    })
    await refused(t, directory, LIBERO, 'weight values', CHECKPOINT, /time_mlp_in\.bias .*element 5\b/)
    cpSync(join(directory, 'finite.safetensors'), weights(directory))
    rmSync(join(directory, 'finite.safetensors'))
    await (await loadPolicy(directory, LIBERO)).close()
  }
})

fault('embeddings that should be tied and are not', async (directory, t) => {
  const embedding = `${PREFIX}.model.language_model.embed_tokens.weight`
  const copy = (change: (bytes: Uint8Array) => Uint8Array) =>
    editTensors(weights(directory), tensors => {
      const head = tensors.get(`${PREFIX}.lm_head.weight`)!
      tensors.set(embedding, { ...head, bytes: change(head.bytes) })
    })
  copy(bytes => bytes)
  await (await loadPolicy(directory, LIBERO)).close()
  copy(bytes => bytes.map(byte => byte & 0x7f))
  await refused(
    t,
    directory,
    LIBERO,
    'embedding',
    CHECKPOINT,
    /embed_tokens\.weight and .*lm_head\.weight differ/,
  )
})

const NORM_STATS = 'NORM_STATS_INVALID'

fault('no norm stats, as openpi’s converter may leave them out', async (directory, t) => {
  cpSync(join(directory, STATS), join(directory, 'elsewhere.json'))
  rmSync(join(directory, 'assets'), { recursive: true })
  await refused(t, directory, LIBERO, 'config', NORM_STATS, STATS, /--norm-stats/)
  await (await loadPolicy(directory, { ...LIBERO, normStats: join(directory, 'elsewhere.json') })).close()
})

fault('norm stats without percentiles under a quantile config', async (directory, t) => {
  stats(directory, ({ actions }) => Object.assign(actions, { q01: null, q99: null }))
  await refused(
    t,
    directory,
    LIBERO,
    'norm stats',
    NORM_STATS,
    /norm_stats\.json: actions has no q01 and q99.*pi05_libero/,
  )
})

fault('norm stats longer or shorter than the robot', async (directory, t) => {
  stats(directory, ({ state }) => every(state, list => [...list, 1]))
  await refused(
    t,
    directory,
    LIBERO,
    'state statistics',
    NORM_STATS,
    /state statistics have 9 numbers.*state has 8/,
  )
  stats(directory, ({ state }) => every(state, list => list.slice(0, 6)))
  await refused(t, directory, LIBERO, 'state statistics', NORM_STATS, /have 6 numbers/)
  stats(directory, ({ state, actions }) => {
    every(state, list => [...list, 0.5, 0.5].slice(0, 8))
    every(actions, list => list.slice(0, 6))
  })
  await refused(
    t,
    directory,
    LIBERO,
    'actions statistics',
    NORM_STATS,
    /actions statistics have 6 numbers.*actions has 7/,
  )
  stats(directory, ({ actions }) => every(actions, list => [...list, ...Array<number>(26).fill(1)]))
  await refused(t, directory, LIBERO, 'actions statistics', NORM_STATS, /the rest is not padding/)
  stats(directory, ({ actions }) =>
    every(actions, list => [...list.slice(0, 6), 0.5, ...Array<number>(25).fill(0)]),
  )
  await (await loadPolicy(directory, LIBERO)).close()
})

fault('norm stats that are damaged or another program’s', async (directory, t) => {
  const path = join(directory, STATS)
  const text = JSON.stringify(readJson(path))
  const broken = async (content: string, message: RegExp) => {
    writeFileSync(path, content)
    await refused(t, directory, LIBERO, 'norm stats', NORM_STATS, message)
  }
  await broken(text.slice(0, 500), /cannot be read as JSON/)
  await broken(text.replace(/"mean":\[[^,]*/, '"mean":[NaN'), /cannot be read as JSON/)
  await broken(text.replace('"actions"', '"action"'), /norm_stats\.actions is missing; found state, action/)
  await broken(text.replace(/"std":\[/, '"std":[-1,'), /std has 9 numbers, mean has 8/)
  await broken(text.replace(/"std":\[[^,]*/, '"std":[-1'), /std\[0\] is negative/)
  await broken(text.replace(/"q99":\[[^,]*/, '"q99":[-99'), /q01\[0\] = .* is above q99 = -99/)
  await broken('{"observation.state": {"mean": [0]}}', /LeRobot/)
  writeFileSync(path, text)
  const lerobot = lerobotCheckpoint(t)
  const file = join(lerobot, 'policy_preprocessor_step_3_normalizer_processor.safetensors')
  await refused(t, directory, { ...LIBERO, normStats: file }, 'norm stats', NORM_STATS, /LeRobot/)
})

const POLICY = 'POLICY_INVALID'

fault('a horizon that config.json does not have', async (directory, t) => {
  editJson(join(directory, 'config.json'), config => {
    config['action_horizon'] = 50
  })
  await refused(
    t,
    directory,
    LIBERO,
    'model type and horizon',
    POLICY,
    /config\.json: action_horizon is 50, but pi05_libero has 10/,
  )
  const policy = await loadPolicy(directory, { ...LIBERO, actionHorizon: 50 })
  t.equal(policy.model.actionHorizon, 50, 'unless it is asked for')
  await policy.close()
})

fault('pi0 weights under a pi05 preset', async (directory, t) => {
  makePi0(directory)
  await refused(
    t,
    directory,
    LIBERO,
    'model type and horizon',
    POLICY,
    /weights are those of a pi0 model, but pi05_libero is for pi05/,
  )
})

fault('pi05 weights under a pi0 preset', async (directory, t) => {
  await refused(
    t,
    directory,
    { config: 'pi0_libero' },
    'model type and horizon',
    POLICY,
    /weights are those of a pi05 model/,
  )
})

fault('a config.json that contradicts its tensors', async (directory, t) => {
  editJson(join(directory, 'config.json'), config => {
    config['model_type'] = 'pi0'
  })
  await refused(t, directory, LIBERO, 'model config', CHECKPOINT, /"model_type".*pi05/)
})

fault('a tokenizer of another vocabulary, or none', async (directory, t) => {
  const path = join(directory, 'tokenizer.model')
  const pieces = { type: 'BPE', vocab: { '<bos>': 0, a: 1, b: 2, ab: 3 }, merges: ['a b'], unk_token: 'a' }
  writeJson(join(directory, 'other.json'), {
    model: pieces,
    added_tokens: [{ id: 0, content: '<bos>', special: true }],
  })
  const other = { ...LIBERO, tokenizer: join(directory, 'other.json') }
  await refused(
    t,
    directory,
    other,
    'tokenizer',
    'TOKENIZER_INVALID',
    /other\.json has 4 tokens, the checkpoint's embedding 2048/,
  )
  writeFileSync(path, 'not a tokenizer')
  await refused(
    t,
    directory,
    LIBERO,
    'tokenizer',
    'TOKENIZER_INVALID',
    /tokenizer\.model: not a SentencePiece model/,
  )
  rmSync(path)
  await refused(t, directory, LIBERO, 'config', 'TOKENIZER_INVALID', /has no tokenizer.*--tokenizer/)
})

fault('no config, an unknown one, and what is no policy at all', async (directory, t) => {
  await refused(
    t,
    directory,
    {},
    'config',
    POLICY,
    /name its openpi config, for example --config pi05_libero/,
  )
  await refused(
    t,
    directory,
    { config: 'pi05_mars' },
    'config',
    POLICY,
    /no config "pi05_mars"; the presets are pi05_libero/,
  )
  await refused(t, scratch(t), {}, 'directory', POLICY, /neither policy\.json nor config\.json/)
  await refused(t, join(directory, 'config.json'), {}, 'directory', POLICY, /is not a directory/)
  rmSync(weights(directory))
  await refused(
    t,
    directory,
    LIBERO,
    'directory',
    POLICY,
    /has no weights; expected model\.safetensors .* or params/,
  )
  mkdirSync(join(directory, 'params'))
  await refused(t, directory, LIBERO, 'weights', CHECKPOINT, /params\/_METADATA: is missing/)
})
