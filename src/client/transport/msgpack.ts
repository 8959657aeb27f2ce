import { decodeMsgpack, encodeMsgpack, type MsgpackValue } from '../../contract/msgpack.js'
import type { Codec } from './codec.js'

/** Binary frames, NumPy arrays as openpi packs them: pixels travel as they are. */
export const msgpackCodec: Codec = {
  protocol: 'turbo-pi.v1+msgpack',
  encode: message => encodeMsgpack(message as MsgpackValue),
  decode: frame => {
    if (typeof frame === 'string') throw new Error('a text frame where binary ones are spoken')
    return decodeMsgpack(frame)
  },
}
