import { TurboPiError } from '../errors.js'
import type { ModelConfig } from '../families/pi0/config.js'
import { expectedTensors, PREFIX, VISION } from '../families/pi0/tensors.js'
import { ARITHMETICS, type Precision, productOf } from '../onnx/arithmetic.js'
import { elementCount } from '../storage/safetensors.js'

/** The graph whose layers a tensor belongs to. */
const graphOf = (name: string) =>
  name.startsWith(VISION) ? 'vision' : name.startsWith(PREFIX) ? 'prefix' : 'denoise'

/** Bytes of a network's weights as a runtime holds them. */
export function weightBytes(config: ModelConfig, precision: Precision): number {
  const float = ARITHMETICS[precision].activations === 'float32' ? 4 : 2
  let bytes = 0
  for (const [name, shape] of expectedTensors(config)) {
    const isProjection = shape.length === 2 && name.includes('.layers.')
    const bytesEach = isProjection && productOf(precision, graphOf(name)) === 'int8' ? 1 : float
    bytes += bytesEach * elementCount(shape)
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
