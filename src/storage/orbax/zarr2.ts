import type { Dtype } from '../dtype.js'
import { checkGrid, requireZeroFill, unsupported, type ZarrArray } from './zarr-array.js'

const DTYPES: Readonly<Record<string, Dtype>> = {
  '<f4': 'F32',
  '<f2': 'F16',
  '<f8': 'F64',
  bfloat16: 'BF16',
  '<i4': 'I32',
  '<i8': 'I64',
}

/** Reads a `.zarray`. */
export function readZarr2(json: Record<string, unknown>, path: string): ZarrArray {
  const { dtype, order, filters, fill_value: fill, compressor, dimension_separator: separator = '.' } = json
  const known = typeof dtype === 'string' && Object.hasOwn(DTYPES, dtype) ? DTYPES[dtype] : undefined
  if (!known) throw unsupported(path, 'dtype', dtype, Object.keys(DTYPES).join(', '))
  if (order !== 'C') throw unsupported(path, 'order', order, 'C')
  if (filters) throw unsupported(path, 'filters', filters, 'none')
  if (compressor && (compressor as { id: unknown }).id !== 'zstd')
    throw unsupported(path, 'compressor', compressor, 'zstd or none')
  if (separator !== '.' && separator !== '/')
    throw unsupported(path, 'dimension_separator', separator, '"." or "/"')
  requireZeroFill(path, fill)
  const { shape, chunkShape } = checkGrid(path, json['shape'], json['chunks'])
  return {
    path,
    dtype: known,
    shape,
    chunkShape,
    compressed: Boolean(compressor),
    keyOf: chunk => (chunk.length > 0 ? chunk.join(separator) : '0'),
  }
}
