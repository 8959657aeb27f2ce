import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ARITHMETICS, type Precision, productsOf } from '../onnx/arithmetic.js'
import type { ValueInfo } from '../onnx/encode.js'
import { GraphBuilder } from '../onnx/graph.js'
import { Lowering } from '../onnx/lowering.js'
import { RoundingGraphBuilder } from '../onnx/rounding-graph.js'
import { WeightsFile } from '../onnx/weights-file.js'
import { requireSpace } from '../storage/cache.js'
import { contentDigest, type FileDigest, PieceHasher, type ReadContent, sha256 } from '../storage/content.js'
import { ContentReading } from '../storage/known-content.js'
import type { Progress, TensorSource } from '../storage/tensor-source.js'
import type { Site } from './pi0/blocks.js'
import { Checkpoint } from './pi0/checkpoint.js'
import type { ModelConfig } from './pi0/config.js'
import { denoiseGraph } from './pi0/graphs/denoise.js'
import { modulationGraph } from './pi0/graphs/modulation.js'
import { prefixGraph } from './pi0/graphs/prefix.js'
import { visionGraph } from './pi0/graphs/vision.js'
import { specimenOf } from './pi0/specimen.js'

/** The weights of all graphs, beside them. */
export const WEIGHTS_FILE = 'weights.bin'
/** Written last: what the files beside it are. */
const MODEL_FILE = 'model.json'

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
  /** Folder of a PEFT adapter to merge into the weights. */
  adapterPath?: string | undefined
  config: ModelConfig
  precision: Precision
  /** 16-bit precisions: the graphs compute in float32 and round, for machines without 16-bit arithmetic. */
  emulated?: boolean
}

/** What model.json says of the graphs and the weights beside it. */
export interface LoweredModel {
  /** Names what is stored: the checkpoint's content, and what was made of it. */
  key: string
  recipe: string
  /** The checkpoint's bytes. */
  content: ReadContent
  /** Where it lay; for people. */
  checkpoint: string
  precision: Precision
  config: ModelConfig
  graphs: Record<GraphName, { inputs: readonly ValueInfo[]; outputs: readonly ValueInfo[] }>
  /** The graphs and the weights file. */
  files: Readonly<Record<string, FileDigest>>
}

export const keyOf = (recipe: string, content: ReadContent) =>
  sha256(`${recipe} ${contentDigest(content)}`).slice(0, 32)

/** The graphs of a network, and the file of weights that they point into; no weight is read yet. */
interface Drawn {
  graphs: Map<GraphName, { bytes: Uint8Array; inputs: readonly ValueInfo[]; outputs: readonly ValueInfo[] }>
  weights: WeightsFile
}

function draw({ config, precision, emulated }: Drawing, tensors: TensorSource): Drawn {
  const weights = new WeightsFile(WEIGHTS_FILE)
  const lower = new Lowering(tensors)
  const Builder = emulated ? RoundingGraphBuilder : GraphBuilder
  const graphs: Drawn['graphs'] = new Map()
  for (const [name, build] of Object.entries(GRAPHS) as [GraphName, (typeof GRAPHS)[GraphName]][]) {
    const g = new Builder(name, weights, ARITHMETICS[precision].activations)
    build({ g, lower, config, products: productsOf(precision, name) })
    const { inputs, outputs } = g.graph()
    graphs.set(name, { bytes: g.encode(), inputs, outputs })
  }
  return { graphs, weights }
}

type Drawing = Pick<ModelSource, 'config' | 'precision' | 'emulated'>

/**
 * Names what is made of a checkpoint's weights: the bytes of its graphs, and how weights are packed, as seen in the bytes
 * that a small network is packed into. The horizon, the prompt's length, the slots' names and the time grid
 * are left out, since the graphs serve any.
 */
export function recipeOf(source: Drawing, tensors: TensorSource): string {
  return recipe(source, draw(source, tensors))
}

function recipe(source: Drawing, { graphs }: Drawn): string {
  const { actionHorizon, maxTokenLength, cameraSlots, timeGrid, ...sizes } = source.config
  const hash = createHash('sha256').update(
    JSON.stringify([source.precision, source.emulated ?? false, sizes]),
  )
  for (const { bytes } of graphs.values()) hash.update(sha256(bytes))
  const specimen = specimenOf(source.config)
  for (const view of draw({ ...source, config: specimen.config }, specimen.tensors).weights.bytes())
    hash.update(new Uint8Array(view.buffer, view.byteOffset, view.byteLength))
  return hash.digest('hex').slice(0, 32)
}

/**
 * Writes the graphs, weights.bin and model.json of a checkpoint into an existing directory. `content` is asked for when the
 * last weight has been read. Throws CHECKPOINT_INVALID or CACHE_FAILED.
 */
export async function writeModel(
  source: ModelSource,
  directory: string,
  content: () => Promise<ReadContent>,
  onProgress?: Progress,
): Promise<LoweredModel> {
  const checkpoint = Checkpoint.open(source.weightsPath, source.config, source.adapterPath)
  try {
    const drawn = draw(source, checkpoint)
    const graphs = {} as LoweredModel['graphs']
    const files: Record<string, FileDigest> = {}
    for (const [name, { bytes, inputs, outputs }] of drawn.graphs) {
      writeFileSync(join(directory, `${name}.onnx`), bytes)
      graphs[name] = { inputs, outputs }
      files[`${name}.onnx`] = digestOf(bytes)
    }
    requireSpace(directory, drawn.weights.byteLength)
    files[WEIGHTS_FILE] = drawn.weights.write(join(directory, WEIGHTS_FILE), onProgress)
    const made = recipe(source, drawn)
    const read = await content()
    const { precision, config, weightsPath } = source
    const model: LoweredModel = {
      key: keyOf(made, read),
      recipe: made,
      content: read,
      checkpoint: weightsPath,
      precision,
      config,
      graphs,
      files,
    }
    writeFileSync(join(directory, MODEL_FILE), sealed(model))
    return model
  } finally {
    checkpoint.close()
  }
}

/** Writes a checkpoint's model into an existing directory. Throws CHECKPOINT_INVALID or CACHE_FAILED. */
export async function exportModel(
  source: ModelSource,
  directory: string,
  onProgress?: Progress,
): Promise<LoweredModel> {
  const checkpoint = Checkpoint.open(source.weightsPath, source.config, source.adapterPath)
  const content = checkpoint.content()
  checkpoint.close()
  const reading = new ContentReading(content)
  try {
    return await writeModel(source, directory, () => reading.end(), onProgress)
  } finally {
    reading.stop()
  }
}

function digestOf(bytes: Uint8Array): FileDigest {
  const hasher = new PieceHasher()
  hasher.update(bytes)
  return hasher.end()
}

/** What model.json holds: the model and a digest of it. */
export const sealed = (model: LoweredModel) =>
  `${JSON.stringify({ ...model, sha256: sha256(JSON.stringify(model)) }, null, 2)}\n`

/** The model that lies in a directory. Throws when there is none, or model.json is not as it was written. */
export function readModel(directory: string): LoweredModel {
  const path = join(directory, MODEL_FILE)
  const { sha256: seal, ...model } = JSON.parse(readFileSync(path, 'utf8')) as LoweredModel & {
    sha256: string
  }
  if (sha256(JSON.stringify(model)) !== seal) throw new Error(`${path} is not as it was written`)
  return model
}
