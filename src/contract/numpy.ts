import { shown } from './limits.js'

/** A NumPy array as msgpack-numpy carries it. A decoded array's data is a view into the frame, at any alignment. */
export class NdArray {
  constructor(
    /** NumPy's dtype.str, for example `<f4`, `|u1` or `<U7`. */
    readonly dtype: string,
    readonly shape: readonly number[],
    /** Elements in C order. */
    readonly data: Uint8Array,
  ) {}
}

/** A NumPy scalar (np.float32(0.1)); decoding gives its plain value instead. */
export class NumpyScalar {
  constructor(
    readonly dtype: string,
    readonly value: number | bigint | boolean,
  ) {}
}

/** A number that travels as float64 even when it is whole, as Python's float does. */
export class Float {
  constructor(readonly value: number) {}
}

export type MsgpackValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Float
  | NdArray
  | NumpyScalar
  | readonly MsgpackValue[]
  | ReadonlyMap<string, MsgpackValue>
  | { readonly [key: string]: MsgpackValue }

/** Bytes of one element of a NumPy dtype string: booleans, integers, floats, bytes and UCS-4 text. */
export function itemSizeOf(dtype: string): number {
  const match = /^(?:[|]b(1)|[|<>][iu](1)|[<>]([iu][248]|f[248])|[|<>]S(\d{1,9})|[<>|]U(\d{1,9}))$/.exec(
    dtype,
  )
  if (!match) throw new Error(`dtype ${JSON.stringify(shown(dtype))} is not supported`)
  const [, flag, byte, word, bytes, characters] = match
  if (flag ?? byte) return 1
  if (word) return Number(word[1])
  return bytes === undefined ? 4 * Number(characters) : Number(bytes)
}
