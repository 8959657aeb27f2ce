import { Type } from 'typebox'

/** Marks what is MessagePack bin, for documents: a check cannot tell bytes from anything else. */
export const BYTES = 'application/octet-stream'

/** A NumPy array in MessagePack. */
export const NdArraySchema = Type.Object(
  {
    dtype: Type.String({ description: 'NumPy dtype string, for example |u1 or <f4' }),
    shape: Type.Array(Type.Integer({ minimum: 0 }), { maxItems: 8 }),
    data: Type.Unsafe<Uint8Array>({
      contentMediaType: BYTES,
      description: 'C-order bytes (MessagePack bin)',
    }),
  },
  { title: 'NumpyArray', description: 'a NumPy array as msgpack-numpy packs it' },
)
