import { TurboPiError } from '../errors.js'
import type { ModelConfig } from '../families/pi0/config.js'
import { EMBEDDING, EXPERT, expectedTensors } from '../families/pi0/tensors.js'
import { ARITHMETICS, type Precision, productOf } from '../onnx/arithmetic.js'

const BYTES = { float32: 4, float16: 2, bfloat16: 2 } as const

/** Bytes of a network's weights as the runtime holds them; int8 keeps the expert and the embedding in float32. */
export function weightBytes(config: ModelConfig, precision: Precision): number {
  const float = BYTES[ARITHMETICS[precision].activations]
  let bytes = 0
  for (const [name, shape] of expectedTensors(config)) {
    const elements = shape.reduce((product, size) => product * size, 1)
    const quantised =
      productOf(precision, 'prefix') !== 'float' &&
      shape.length > 1 &&
      name !== EMBEDDING &&
      !name.startsWith(EXPERT)
    bytes += elements * (quantised ? 1 : float)
  }
  return bytes
}

/**
 * Throws SWAP_REFUSED when the weights of another network do not fit beside what is loaded, before anything of it is:
 * a machine that runs out of memory would take the policy that serves down with it.
 */
export function requireMemoryBeside(
  config: ModelConfig,
  precision: Precision,
  available = process.availableMemory(),
): void {
  const needed = weightBytes(config, precision)
  if (needed <= available) return
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`
  throw new TurboPiError(
    'SWAP_REFUSED',
    `The next policy needs ${gigabytes(needed)} of memory beside the one being served, and ${gigabytes(available)} are free: free some, or start the server anew with it.`,
  )
}
