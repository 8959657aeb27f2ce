/** Policies with one fault that leaves every tensor plausible, made of a policy directory. */
import { existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Policy, PreparedObservation } from '../src/policy/policy.js'
import { Safetensors, type TensorToWrite, writeSafetensors } from '../src/storage/safetensors.js'

const PREFIX_LAYERS = 'paligemma_with_expert.paligemma.model.language_model.layers'
const EXPERT_LAYERS = 'paligemma_with_expert.gemma_expert.model.layers'

/** Which tensor's values stand under the name of each that `matching` finds. */
export interface MovedWeights {
  matching: RegExp
  source(name: string): string
}

export const MOVED_WEIGHTS = {
  /** K/V of the prefix by the action expert's weights. */
  ofTheExpert: {
    matching: /self_attn\.[kv]_proj/,
    source: name => name.replace(PREFIX_LAYERS, EXPERT_LAYERS),
  },
  /** K/V of each prefix layer by the weights of the one before. */
  ofTheLayerBefore: {
    matching: /language_model\.layers\.[1-9]\d*\.self_attn\.[kv]_proj/,
    source: name => name.replace(/\.layers\.(\d+)\./, (_, layer) => `.layers.${Number(layer) - 1}.`),
  },
  /** One layer's weights in all layers. */
  ofTheFirstLayer: {
    matching: /(language_model|gemma_expert).*\.layers\./,
    source: name => name.replace(/\.layers\.\d+\./, '.layers.0.'),
  },
} as const satisfies Record<string, MovedWeights>

type Manifest = Record<string, unknown> & { weights: string }

/** Fills the empty folder `directory` with the policy of `source`; its manifest says what `changes` says, too. */
export function withManifest(source: string, directory: string, changes: Record<string, unknown> = {}): void {
  linkFiles(source, directory, 'policy.json')
  writeManifest(source, directory, changes)
}

/** The same with weights that stand in the wrong places. */
export function withWeights(
  source: string,
  directory: string,
  { matching, source: from }: MovedWeights,
): void {
  const { weights: file } = writeManifest(source, directory)
  linkFiles(source, directory, 'policy.json', file)
  const weights = Safetensors.open(join(source, file))
  const tensors = new Map<string, TensorToWrite>()
  let changed = 0
  for (const [name, { shape }] of weights.tensors) {
    const taken = matching.test(name) ? from(name) : name
    if (taken !== name) changed++
    tensors.set(name, { dtype: 'F32', shape, pieces: () => [weights.float32(taken)] })
  }
  if (!changed) throw new Error(`no tensor matches ${matching}`)
  writeSafetensors(join(directory, file), tensors, weights.metadata)
  weights.close()
}

/** The policy with a fault between pre-processing and the network. */
export function withObservation(
  policy: Policy,
  change: (prepared: PreparedObservation, policy: Policy) => PreparedObservation,
): Policy {
  const { name, spec, model, identity, weightsPath, actionSize, jointNames, defaultSteps } = policy
  const { metadata, previousChunks, stateNames } = policy
  return {
    ...{ name, spec, model, identity, weightsPath, actionSize, jointNames, defaultSteps },
    ...{ metadata, previousChunks, stateNames },
    state: observation => policy.state(observation),
    watch: () => policy.watch(),
    pixels: observation => policy.pixels(observation),
    picture: (observation, camera) => policy.picture(observation, camera),
    prepare: async (observation, wanted) => change(await policy.prepare(observation, wanted), policy),
    finish: (actions, prepared) => policy.finish(actions, prepared),
    close: () => policy.close(),
  }
}

/** The prompt's padding counts as tokens. */
export function unmaskedPadding(prepared: PreparedObservation, { model }: Policy): PreparedObservation {
  const tokens = new Int32Array(model.maxTokenLength)
  tokens.set(prepared.row.tokens)
  return { ...prepared, row: { ...prepared.row, tokens } }
}

/** A camera that is missing is seen, as black. */
export function unmaskedCameras(prepared: PreparedObservation, { model }: Policy): PreparedObservation {
  const black = new Uint8Array(model.vision.imageSize ** 2 * 3)
  const images = prepared.row.images.map(image => image ?? black)
  return { ...prepared, row: { ...prepared.row, images } }
}

function writeManifest(source: string, directory: string, changes: Record<string, unknown> = {}): Manifest {
  if (!existsSync(join(source, 'policy.json')))
    throw new Error(
      `${source} has no policy.json, which turbo-pi init writes: without it no fault can be put into it`,
    )
  const { digests: _, ...manifest } = JSON.parse(
    readFileSync(join(source, 'policy.json'), 'utf8'),
  ) as Manifest
  const changed = { ...manifest, ...changes } as Manifest
  writeFileSync(join(directory, 'policy.json'), JSON.stringify(changed))
  return changed
}

function linkFiles(source: string, directory: string, ...but: string[]): void {
  for (const file of readdirSync(source))
    if (!but.includes(file)) symlinkSync(resolve(source, file), join(directory, file))
}
