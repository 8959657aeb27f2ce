import { Type } from 'typebox'

/** A NumPy array in MessagePack. */
export const NdArraySchema = Type.Object(
  {
    dtype: Type.String({ description: 'NumPy dtype string, for example |u1 or <f4' }),
    shape: Type.Array(Type.Integer({ minimum: 0 }), { maxItems: 8 }),
    data: Type.Unsafe<Uint8Array>({ description: 'C-order bytes (MessagePack bin)' }),
  },
  { title: 'NumpyArray', description: 'a NumPy array as msgpack-numpy packs it' },
)
