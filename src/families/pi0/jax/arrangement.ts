import { elementCount } from '../../../storage/safetensors.js'

/**
 * How the axes of a JAX parameter become those of ours:
 * - vector: all axes one;
 * - table: as it is;
 * - matrix: `batch` axes, then `rows` axes that become the inputs, then the outputs: [batch · outputs, inputs];
 * - patches: a convolution's [height, width, channels, outputs] as [outputs, channels, height, width].
 */
export type Arrangement =
  | { kind: 'vector' }
  | { kind: 'table' }
  | { kind: 'matrix'; batch: number; rows: number }
  | { kind: 'patches' }

/** Elements by their width: bfloat16 and float16, or float32. */
export type Words = Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>

/** Side of the blocks in which a matrix is transposed, so that both sides stay in cache. */
const TILE = 64

/** Whether a run of ours is a run of the parameter. */
export const keepsOrder = ({ kind }: Arrangement) => kind === 'vector' || kind === 'table'

export function arrangedShape(arrangement: Arrangement, dims: readonly number[]): number[] {
  switch (arrangement.kind) {
    case 'vector':
      return [elementCount(dims)]
    case 'table':
      return [...dims]
    case 'matrix': {
      const { batch, rows } = arrangement
      const inputs = elementCount(dims.slice(batch, batch + rows))
      return [elementCount(dims) / inputs, inputs]
    }
    case 'patches': {
      const [height, width, channels, outputs] = dims as [number, number, number, number]
      return [outputs, channels, height, width]
    }
  }
}

export function arranged(arrangement: Arrangement, dims: readonly number[], words: Words): Words {
  switch (arrangement.kind) {
    case 'vector':
    case 'table':
      return words
    case 'matrix': {
      const { batch, rows } = arrangement
      return transposed(
        words,
        elementCount(dims.slice(0, batch)),
        elementCount(dims.slice(batch, batch + rows)),
      )
    }
    case 'patches': {
      const [height, width, channels, outputs] = dims as [number, number, number, number]
      const outputsFirst = transposed(words, 1, height * width * channels)
      return transposed(outputsFirst, outputs, height * width)
    }
  }
}

/** `batch` matrices of `rows` rows one after another, each transposed. */
function transposed(words: Words, batch: number, rows: number): Words {
  const size = words.length / batch
  const columns = size / rows
  const result = words instanceof Uint16Array ? new Uint16Array(words.length) : new Uint32Array(words.length)
  for (let start = 0; start < words.length; start += size)
    for (let r0 = 0; r0 < rows; r0 += TILE)
      for (let c0 = 0; c0 < columns; c0 += TILE)
        for (let r = r0; r < Math.min(r0 + TILE, rows); r++)
          for (let c = c0; c < Math.min(c0 + TILE, columns); c++)
            result[start + c * rows + r] = words[start + r * columns + c]!
  return result
}
