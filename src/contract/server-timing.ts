import { Type } from 'typebox'

export const milliseconds = (description: string) =>
  Type.Number({ description: `milliseconds ${description}` })

/** What an answer tells of the time that it took. */
export const ServerTiming = Type.Object(
  {
    decode_ms: milliseconds('of image decoding, resizing and tokenising'),
    queue_ms: milliseconds('spent waiting, to be prepared and for the engine'),
    vision_ms: milliseconds('of the vision tower, for the batch'),
    prefix_ms: milliseconds('of the prefix, for the batch'),
    denoise_ms: milliseconds('of all denoise steps, for the batch'),
    total_ms: milliseconds('from the parsed request to the answer'),
  },
  { title: 'ServerTiming' },
)
