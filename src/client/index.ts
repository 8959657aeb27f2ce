/** `turbo-pi/client`: a robot's side of `WS /stream`. */
export { TurboPiError } from '../errors.js'
export { type ActionChunk, type ClientObservation, rgbImage } from './chunk.js'
export { type ObserveOptions, type PolicyMetadata, TurboPiClient } from './client.js'
export { ConnectionError, type LinkOptions } from './link.js'
export { ActionChunkPlayer } from './player.js'
export type { ChunkStream } from './stream.js'
