/** `turbo-pi/client`: a robot's side of `WS /stream`. */
export type { MarkKind } from '../contract/report.js'
export type { ActionChunk } from './chunk.js'
export type { ClientEvents, ClientOptions, PolicyMetadata } from './client.js'
export type { TimeSample } from './core/server-clock.js'
export * from './errors.js'
export {
  ChunkExecutor,
  type ChunkSource,
  type ExecutorEvents,
  type ExecutorOptions,
  STRATEGIES,
  type Strategy,
  type Tick,
} from './executor/executor.js'
export { type ActionReporter, type ControlLoop, runExecutor } from './executor/run.js'
export { TurboPiClient } from './node.js'
export { type ClientObservation, type ObserveOptions, type RtcRequest, rgbImage } from './observation.js'
export type { ChunkStream } from './stream.js'
