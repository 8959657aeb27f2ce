/** MessagePack in openpi's msgpack-numpy dialect (network §5). */
export { decodeMsgpack } from './msgpack-decoder.js'
export { encodeMsgpack } from './msgpack-encoder.js'
export { Float, itemSizeOf, type MsgpackValue, NdArray, NumpyScalar } from './numpy.js'
