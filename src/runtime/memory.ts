import { TurboPiError } from '../errors.js'
import type { ModelConfig } from '../families/pi0/config.js'
import { expectedTensors, PREFIX, VISION } from '../families/pi0/tensors.js'
import { ARITHMETICS, type Place, type Precision, productsOf } from '../onnx/arithmetic.js'
import { elementCount } from '../storage/safetensors.js'

/** The graph whose layers a tensor belongs to. */
const graphOf = (name: string) =>
  name.startsWith(VISION) ? 'vision' : name.startsWith(PREFIX) ? 'prefix' : 'denoise'

const PLACES: readonly [RegExp, Place][] = [
  [/\.[kv]_proj\./, 'kv'],
  [/\.(o|out)_proj\./, 'o'],
  [/\.(gate_proj|up_proj|fc1)\./, 'up'],
  [/\.(down_proj|fc2)\./, 'down'],
]

/** Whether a projection inside the layers has weights of one byte. */
function isByte(name: string, precision: Precision): boolean {
  const products = productsOf(precision, graphOf(name))
  const place = PLACES.find(([pattern]) => pattern.test(name))?.[1] ?? 'q'
  // The vision tower's keys and values are one product with its queries.
  const how = products[place === 'kv' && name.startsWith(VISION) ? 'q' : place] ?? 'float'
  return how !== 'float'
}

/** Bytes of a network's weights as a runtime holds them. */
export function weightBytes(config: ModelConfig, precision: Precision): number {
  const float = ARITHMETICS[precision].activations === 'float32' ? 4 : 2
  let bytes = 0
  for (const [name, shape] of expectedTensors(config)) {
    const isProjection = shape.length === 2 && name.includes('.layers.')
    const bytesEach = isProjection && isByte(name, precision) ? 1 : float
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
