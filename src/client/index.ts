/** `turbo-pi/client`: a robot's side of `WS /stream`. */
export type { ActionChunk } from './chunk.js'
export type { ClientEvents, ClientOptions, PolicyMetadata } from './client.js'
export type { TimeSample } from './core/server-clock.js'
export * from './errors.js'
export { TurboPiClient } from './node.js'
export { type ClientObservation, type ObserveOptions, rgbImage } from './observation.js'
export { ActionChunkPlayer } from './player.js'
export type { ChunkStream } from './stream.js'
