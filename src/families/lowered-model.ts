import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ARITHMETICS, type Precision, productOf } from '../onnx/arithmetic.js'
import type { ValueInfo } from '../onnx/encode.js'
import { GraphBuilder } from '../onnx/graph.js'
import { Lowering } from '../onnx/lowering.js'
import { RoundingGraphBuilder } from '../onnx/rounding-graph.js'
import { WeightsFile } from '../onnx/weights-file.js'
import { cacheDirectory, fillDirectory, requireSpace } from '../storage/cache.js'
import { Safetensors } from '../storage/safetensors.js'
import type { Site } from './pi0/blocks.js'
import type { ModelConfig } from './pi0/config.js'
import { denoiseGraph } from './pi0/graphs/denoise.js'
import { modulationGraph } from './pi0/graphs/modulation.js'
import { prefixGraph } from './pi0/graphs/prefix.js'
import { visionGraph } from './pi0/graphs/vision.js'
import { Checkpoint } from './pi0/tensors.js'

/** Raised whenever the graphs or the weights file change, so that caches of older code are not used. */
export const GRAPH_VERSION = 2

/** The weights of all graphs, beside them. */
export const WEIGHTS_FILE = 'weights.bin'

export type GraphName = 'vision' | 'prefix' | 'modulation' | 'denoise'

const GRAPHS: Readonly<Record<GraphName, (site: Site) => void>> = {
  vision: visionGraph,
  prefix: prefixGraph,
  modulation: modulationGraph,
  denoise: denoiseGraph,
}

/** A checkpoint and what is to be made of it. */
export interface ModelSource {
  weightsPath: string
  config: ModelConfig
  precision: Precision
  /** 16-bit precisions: the graphs compute in float32 and round, for machines without 16-bit arithmetic. */
  emulated?: boolean
}

export type Progress = (done: number, total: number) => void

/** What model.json says of the graphs and the weights beside it. */
export interface LoweredModel {
  graphVersion: number
  fingerprint: string
  precision: Precision
  config: ModelConfig
  graphs: Record<GraphName, { inputs: readonly ValueInfo[]; outputs: readonly ValueInfo[] }>
}

/** Files up to this size are digested whole; larger ones go by header, size and time of change. */
const DIGEST_BYTES = 2 ** 26

/**
 * Hash of weights, config, precision and graph version. The horizon, the prompt's length and the slots' names are left
 * out, since the graphs serve any.
 */
export function fingerprintOf({ weightsPath, config, precision, emulated }: ModelSource): string {
  const { actionHorizon, maxTokenLength, cameraSlots, ...sizes } = config
  const hash = createHash('sha256').update(JSON.stringify([GRAPH_VERSION, precision, sizes]))
  if (emulated) hash.update('emulated')
  const store = Safetensors.open(weightsPath)
  store.close()
  for (const { path, size, mtimeMs, headerDigest } of store.files) {
    if (size <= DIGEST_BYTES) hash.update(readFileSync(path))
    else hash.update(`${size} ${mtimeMs} ${headerDigest}`)
  }
  return hash.digest('hex').slice(0, 32)
}

/** Writes the graphs, weights.bin and model.json of a checkpoint into an existing directory. Throws CHECKPOINT_INVALID or CACHE_FAILED. */
export function writeModel(
  source: ModelSource,
  fingerprint: string,
  directory: string,
  onProgress?: Progress,
): LoweredModel {
  const checkpoint = Checkpoint.open(source.weightsPath, source.config)
  try {
    const weights = new WeightsFile(WEIGHTS_FILE)
    const lower = new Lowering(checkpoint)
    const Builder = source.emulated ? RoundingGraphBuilder : GraphBuilder
    const graphs = {} as LoweredModel['graphs']
    for (const [name, build] of Object.entries(GRAPHS) as [GraphName, (typeof GRAPHS)[GraphName]][]) {
      const g = new Builder(name, weights, ARITHMETICS[source.precision].activations)
      build({ g, lower, config: source.config, product: productOf(source.precision, name) })
      writeFileSync(join(directory, `${name}.onnx`), g.encode())
      const { inputs, outputs } = g.graph()
      graphs[name] = { inputs, outputs }
    }
    requireSpace(directory, weights.byteLength)
    weights.write(join(directory, weights.file), onProgress)
    const { precision, config } = source
    const model: LoweredModel = { graphVersion: GRAPH_VERSION, fingerprint, precision, config, graphs }
    writeFileSync(join(directory, 'model.json'), `${JSON.stringify(model, null, 2)}\n`)
    return model
  } finally {
    checkpoint.close()
  }
}

/** The directory of a lowered model, whether it is there already or not. */
export function loweredDirectory(fingerprint: string, cache = cacheDirectory()): string {
  return join(cache, 'models', fingerprint)
}

/** True when a whole model lies there: directories appear under their final name only when complete. */
export const isLowered = (directory: string) => existsSync(join(directory, 'model.json'))

/**
 * Lowers a checkpoint into the cache, unless it is there or another process is at it. `onProgress` hears bytes written and
 * in all; it and `waiting`, which is called while another process writes, may throw to give up.
 * Throws CACHE_FAILED or CHECKPOINT_INVALID.
 */
export function lowerIntoCache(
  source: ModelSource,
  fingerprint: string,
  directory: string,
  { onProgress, waiting }: { onProgress?: Progress; waiting?: () => void } = {},
): Promise<void> {
  return fillDirectory(
    directory,
    draft =>
      writeModel(source, fingerprint, draft.directory, (done, total) => {
        draft.alive()
        onProgress?.(done, total)
      }),
    waiting,
  )
}
