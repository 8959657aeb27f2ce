import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readPostprocessor, readPreprocessor } from '../../../src/policy/loading/lerobot-processors.js'
import { golden, type Json, readJson, scratch, writeJson } from '../../support/checkpoint.js'
import { editStep } from '../../support/users.js'

const PRE = 'policy_preprocessor.json'
const POST = 'policy_postprocessor.json'
const PROMPT = 'pi05_prepare_state_tokenizer_processor_step'

/** Saved processors of a pi05 policy, as `name` of test/golden/users has them. */
function saved(t: Test, name = 'lerobot_token_length_48_vs_200'): string {
  const directory = scratch(t)
  for (const file of [PRE, POST]) copyFileSync(golden(`users/${name}/${file}`), join(directory, file))
  return directory
}

function refuses(t: Test, directory: string, message: RegExp): void {
  const read = () => [readPreprocessor(directory, 'pi05'), readPostprocessor(directory)]
  t.throws(read, { code: 'POLICY_INVALID', message })
}

t.test('settings of saved steps that would change a number are refused by name', async t => {
  refuses(t, saved(t, 'lerobot_processor_settings_ignored'), /include_state_in_prompt .* is false/)
  const setting = (step: string, settings: Json, message: RegExp, file = PRE) => {
    const directory = saved(t)
    editStep(directory, file, step, config => Object.assign(config, settings))
    refuses(t, directory, message)
  }
  setting('normalizer_processor', { normalize_observation_keys: ['a'] }, /normalize_observation_keys/)
  setting('normalizer_processor', { features: {} }, /features .* has no observation\.state/)
  setting('normalizer_processor', { stats: { a: 1 } }, /the setting stats of the step normalizer/)
  setting('tokenizer_processor', { task_key: 'subtask' }, /task_key .* is "subtask"/)
  setting(PROMPT, { task_key: 'subtask' }, /task_key .* is "subtask"/)
  setting('tokenizer_processor', { padding_side: 'left' }, /padding_side .* is "left"/)
  setting('tokenizer_processor', { truncation: false }, /truncation .* is false/)
  setting('device_processor', { float_dtype: 'float16' }, /float_dtype .* is "float16"/)
  setting('absolute_actions_processor', { mask: [true] }, /the setting mask/, POST)
})

t.test('settings that change nothing are taken', async t => {
  const directory = saved(t)
  editStep(directory, PRE, 'tokenizer_processor', config => Object.assign(config, { padding: 'longest' }))
  editStep(directory, PRE, 'normalizer_processor', config =>
    Object.assign(config, { normalize_observation_keys: ['observation.state'] }),
  )
  editStep(directory, PRE, 'device_processor', config => Object.assign(config, { float_dtype: 'float32' }))
  t.equal(readPreprocessor(directory, 'pi05').config('tokenizer_processor')['max_length'], 200)
})

t.test('steps in another order, missing ones and second ones are refused by name', async t => {
  const steps = (file: string, edit: (steps: Json[]) => Json[], message: RegExp) => {
    const directory = saved(t)
    const pipeline = readJson(join(directory, file))
    writeJson(join(directory, file), { ...pipeline, steps: edit(pipeline['steps'] as Json[]) })
    refuses(t, directory, message)
  }
  const isPrompt = (step: Json) => step['registry_name'] === PROMPT
  steps(
    PRE,
    ([rename, batch, relative, normalise, ...rest]) => [rename!, batch!, normalise!, relative!, ...rest],
    /normalizer_processor stands before relative_actions_processor/,
  )
  steps(PRE, all => [...all, all[3]!], /normalizer_processor stands there twice/)
  steps(PRE, all => all.filter(step => !isPrompt(step)), /step pi05_prepare_state.* is missing/)
  steps(PRE, all => [...all, { class: 'my.Step' }], /the step my\.Step is not supported/)
  steps(PRE, all => [...all, { class: { toString: 1 } }], /the step \{"toString":1\} is not supported/)
  steps(POST, all => [...all, all[0]!], /unnormalizer_processor stands there twice/)
  steps(POST, ([, ...rest]) => rest, /step unnormalizer_processor is missing/)
  const directory = saved(t)
  t.throws(() => readPreprocessor(directory, 'pi0'), { message: /pi05_prepare_state.* is not supported/ })
})
