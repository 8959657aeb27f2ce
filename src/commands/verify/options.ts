import { TurboPiError } from '../../errors.js'
import { MAX_STEPS } from '../../families/pi0/sampling.js'
import { PRECISIONS } from '../../onnx/arithmetic.js'
import { flag, integer, integers, positive, type takeOptions, text } from '../kit/options.js'

export const help = `turbo-pi verify [--against DIR|random] [options] [options of serve]
turbo-pi verify --model DIR --cases FILE|DIR [options]
turbo-pi verify --policy-cases DIR --models DIR [options]

Shows how exactly a policy is computed; the exit code is 1 when a limit is exceeded or a case could not be run.

The first form runs the same observations and noise through two precisions or runtimes of one checkpoint, and prints for
each number of denoise steps the largest and the mean difference of the normalised actions, and their cosine. What is
verified is what serve would run with the same options; where that is the reference itself and no observations are named,
it is int8, the other precision that serve offers on a CPU.

  --against DIR|random      recorded observations: .msgpack messages as openpi's client sends them, golden cases
                            (.safetensors); or random observations [random]
  --model DIR               checkpoint directory (PyTorch or JAX), instead of a policy: for golden cases and random
                            observations
  --count N                 random observations [8]
  --steps LIST              numbers of denoise steps [10,3,1]
  --reference NAME          precision to compare with [fp32]
  --reference-runtime NAME  runtime to compare with [cpu]
  --max X, --mean X         largest and mean difference allowed [no limit]

The second runs golden cases through the network, the third client bytes through whole policies. Both print the largest
difference of each kind of tensor from the official implementation.

  --model DIR, --models DIR checkpoint directory: config.json and model.safetensors; for whole policies where the model
                            folders and tokenizers that info.json names lie
  --cases FILE|DIR          a golden case (.safetensors), or a folder of them; those of real-time chunking on both time grids
  --inputs DIR              where the cases lie whose observations others use [beside them, else ../../cases]
  --policy-cases DIR        folders with obs.msgpack, expected.safetensors, info.json and norm_stats.json
  --reference NAME          tensor of golden cases to compare the actions with, and nothing else [out.actions]
  --max X, --mean X         largest and mean difference allowed, for every kind of tensor [what the precision allows];
                            --tolerance is another name of --max

All take:
  --adapter DIR             PEFT adapter (LoRA) to merge into the weights
  --runtime NAME            for cases cpu (default) or one of serve's
  --precision NAME          ${PRECISIONS.join(', ')}; for cases by default fp32 on the CPU, bf16 on GPUs
  --emulated                fp16 on the CPU: round after every operation, where ONNX Runtime keeps float32; bf16 always does
  --json                    print JSON`

export const OPTIONS = {
  against: text(),
  model: text(),
  cases: text(),
  inputs: text(),
  'policy-cases': text(),
  models: text(),
  count: integer(8, 1, 10_000),
  steps: integers([10, 3, 1], 1, MAX_STEPS),
  reference: text(),
  'reference-runtime': text(),
  max: positive(),
  mean: positive(),
  tolerance: positive(),
  emulated: flag(),
  json: flag(),
}

/** What was given. */
export type Own = ReturnType<typeof takeOptions<typeof OPTIONS>>['own']

export const usage = (detail: string) => new TurboPiError('CONFIG_INVALID', `${detail}\n\n${help}`)
