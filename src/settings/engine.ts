import { PRECISIONS } from '../onnx/arithmetic.js'
import { RUNTIMES } from '../runtime/backends.js'
import { parsedDevices } from '../runtime/devices.js'
import { choice, directory, integer, settings, text } from './kinds.js'

/** What computes, and how. */
export const ENGINE_SETTINGS = settings('Engine', {
  runtime: choice({
    default: 'auto',
    choices: RUNTIMES,
    meaning: 'what computes; tensorrt_pipelined is tensorrt with --pipeline on',
  }),
  devices: text({
    default: '0',
    takes: 'all|N,…',
    meaning:
      'GPUs that compute, as CUDA counts them in this process: each has its own engine, and a batch goes where it is answered first',
    parse: value => {
      parsedDevices(value)
      return value
    },
  }),
  precision: choice({
    default: 'auto',
    choices: ['auto', ...PRECISIONS],
    meaning: 'arithmetic of the network; auto is fp32 on CPUs, bf16 on GPUs',
  }),
  threads: integer({
    default: 0,
    min: 0,
    max: 1024,
    meaning: 'threads of the CPU runtime; 0 takes one a physical core',
  }),
  pipeline: choice({
    default: 'auto',
    choices: ['auto', 'on', 'off'],
    meaning: 'overlap the prefix of one batch with the denoising of another; auto is off on CPUs, on on GPUs',
  }),
  maxBatch: integer({ default: 8, min: 1, max: 256, meaning: 'observations that share one engine call' }),
  numSteps: integer({
    default: 0,
    min: 0,
    max: 50,
    meaning: 'denoise steps when a request names none; 0 takes the policy’s',
  }),
  visionCache: integer({
    default: 16,
    min: 0,
    max: 4096,
    meaning: 'image embeddings kept for images seen again; 0 switches it off',
  }),
  prefixCache: integer({
    default: 16,
    min: 0,
    max: 1024,
    meaning:
      'observations whose prefix is kept on the card, of --runtime cuda, for when the same images and prompt come again; 0 switches it off',
  }),
  engineTimeout: integer({
    default: 5000,
    min: 100,
    max: 3_600_000,
    unit: 'ms',
    meaning:
      'that a call of the engine may take at least; one that takes longer, and 20 times as long as recent ones, has hung',
  }),
  cacheDir: {
    ...directory({ otherwise: '~/.cache/turbo-pi', meaning: 'where lowered weights and engines are kept' }),
    env: 'TURBO_PI_CACHE',
  },
})
