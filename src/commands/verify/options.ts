import { MAX_STEPS } from '../../families/pi0/sampling.js'
import { RUNTIMES } from '../../runtime/backends.js'
import { usage as usageOf } from '../../settings/arguments.js'
import { ENGINE_SETTINGS } from '../../settings/engine.js'
import { CONFIG_FILE } from '../../settings/general.js'
import {
  choice,
  directory,
  file,
  flag,
  grouped,
  integer,
  integers,
  positive,
  text,
  type Values,
} from '../../settings/kinds.js'
import { POLICY_SETTINGS } from '../../settings/policy.js'
import type { Description } from '../kit/description.js'

const { runtime, precision, threads, pipeline, cacheDir } = ENGINE_SETTINGS

export const OPTIONS = {
  ...grouped('Two runtimes', {
    against: text({
      takes: 'DIR|random',
      otherwise: 'random',
      offers: 'directories',
      meaning:
        'recorded observations: .msgpack messages as openpi’s client sends them, golden cases (.safetensors); or random observations',
    }),
    count: integer({ default: 8, min: 1, max: 10_000, meaning: 'random observations' }),
    steps: integers({ default: [10, 3, 1], min: 1, max: MAX_STEPS, meaning: 'numbers of denoise steps' }),
    referenceRuntime: choice({ default: 'cpu', choices: RUNTIMES, meaning: 'runtime to compare with' }),
  }),
  ...grouped('Golden cases', {
    cases: file({
      takes: 'FILE|DIR',
      meaning:
        'a golden case (.safetensors), or a folder of them; those of real-time chunking on both time grids',
    }),
    inputs: directory({
      otherwise: 'beside them, else ../../cases',
      meaning: 'where the cases lie whose observations others use',
    }),
  }),
  ...grouped('Whole policies', {
    policyCases: directory({
      meaning: 'folders with obs.msgpack, expected.safetensors, info.json and norm_stats.json',
    }),
    models: directory({ meaning: 'where the model folders and tokenizers that info.json names lie' }),
  }),
  ...grouped('Options', {
    model: directory({
      meaning:
        'checkpoint directory (PyTorch or JAX), instead of a policy: for golden cases and random observations',
    }),
    reference: text({
      takes: 'NAME',
      otherwise: 'fp32; out.actions',
      meaning:
        'of two runtimes, the precision to compare with; of golden cases, the tensor to compare the actions with, and nothing else',
    }),
    max: positive({
      otherwise: 'none; for cases, what the precision allows',
      meaning: 'largest difference allowed; for cases, of every kind of tensor',
    }),
    mean: positive({ meaning: 'mean difference allowed' }),
    tolerance: positive({ meaning: 'for cases, another name of --max' }),
    emulated: flag({
      meaning:
        'fp16 on the CPU: round after every operation, where ONNX Runtime keeps float32; bf16 always does',
    }),
    json: flag({ meaning: 'print JSON' }),
  }),
}

export const DESCRIPTION = {
  name: 'verify',
  forms: [
    '[--against DIR|random] [options]',
    '--model DIR --cases FILE|DIR [options]',
    '--policy-cases DIR --models DIR [options]',
  ],
  about: `
Shows how exactly a policy is computed; the exit code is 1 when a limit is exceeded or a case could not be run.

The first form runs the same observations and noise through two precisions or runtimes of one checkpoint, and prints for
each number of denoise steps the largest and the mean difference of the normalised actions, and their cosine. What is
verified is what serve would run with the same options; where that is the reference itself and no observations are named,
it is int8, the other precision that serve offers on a CPU. Without options: the bundled policy with random observations.

The second runs golden cases through the network, the third client bytes through whole policies: on the CPU unless another
--runtime is named, in fp32 there and bf16 on GPUs unless another --precision is. Both print the largest difference of each
kind of tensor from the official implementation. The reference data lies in a checkout, in test/golden; the package has none.`,
  options: OPTIONS,
  settings: { ...POLICY_SETTINGS, runtime, precision, threads, pipeline, cacheDir, ...CONFIG_FILE },
} as const satisfies Description

/** What was given. */
export type Own = Values<typeof OPTIONS>

export const usage = (detail: string) => usageOf('verify', detail)
