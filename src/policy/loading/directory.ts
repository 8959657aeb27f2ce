import { existsSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { TurboPiError } from '../../errors.js'
import { WEIGHTS, weightsIn } from '../../families/pi0/open-tensors.js'
import { cachedDirectory } from '../../storage/downloads.js'
import { requireGivenFile } from '../../storage/given-file.js'
import { type JsonObject, readJsonObject } from '../../storage/json-file.js'
import { sha256OfFile } from '../../storage/piece.js'
import { fileInside } from './files.js'
import { type Manifest, readManifest } from './manifest.js'
import { recogniseDirectory, recognisePath } from './recognise.js'

/** A policy directory and where its parts lie. */
export interface PolicyDirectory {
  /** A manifest beside a LeRobot checkpoint refines it, and the layout stays LeRobot's. */
  layout: 'manifest' | 'openpi' | 'lerobot'
  directory: string
  name: string
  manifest?: Manifest
  /** Absent in a JAX checkpoint and in what openpi's train_pytorch.py writes. */
  configPath: string
  /** A safetensors file, the index of a sharded checkpoint, or the params folder of a JAX one. */
  weightsPath: string
  /** Folder of a PEFT adapter over these weights. */
  adapterPath?: string
}

const refuse = (detail: string) => new TurboPiError('POLICY_INVALID', detail)

/**
 * Recognises a policy directory: our manifest, an openpi checkpoint (JAX or PyTorch) or a LeRobot one. A PEFT adapter that
 * carries LeRobot's processors was trained with them: they count, and the directory gives the weights. Throws POLICY_INVALID.
 */
export function readPolicyDirectory(path: string, adapter?: string): PolicyDirectory {
  const base = readDirectory(path)
  if (adapter === undefined) return base
  const adapterPath = resolve(adapter)
  if (!existsSync(join(adapterPath, 'policy_preprocessor.json'))) return { ...base, adapterPath }
  const own = join(adapterPath, 'config.json')
  const configPath = existsSync(own) ? own : base.configPath
  return {
    ...base,
    layout: 'lerobot',
    directory: adapterPath,
    name: basename(adapterPath),
    configPath,
    adapterPath,
  }
}

function readDirectory(path: string): PolicyDirectory {
  const directory = cachedDirectory(path) ?? resolve(path)
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory()) {
    const [what, todo] = recognisePath(path) ?? [
      'is not a directory; expected a policy directory or a checkpoint directory.',
      'Check the path.',
    ]
    throw refuse(`${path} ${what}\n${todo}`)
  }
  const name = basename(directory)
  const manifestPath = join(directory, 'policy.json')
  if (existsSync(manifestPath)) {
    const manifest = readManifest(manifestPath)
    const named = (field: 'modelConfig' | 'weights', otherwise: () => string) => {
      const file = manifest[field]
      return file === undefined ? otherwise() : fileInside(directory, file, `policy.json: ${field}`)
    }
    const configPath = named('modelConfig', () => join(directory, 'config.json'))
    const weightsPath = named('weights', () => requireWeights(directory))
    const layout = isLerobot(configPath) ? 'lerobot' : 'manifest'
    return { layout, directory, name, manifest, configPath, weightsPath }
  }
  const configPath = join(directory, 'config.json')
  if (!existsSync(configPath) && !weightsIn(directory))
    throw notFound(directory, [
      'has neither policy.json nor config.json nor weights.',
      'Give a policy directory, an openpi checkpoint (a JAX one with its params folder, or model.safetensors) or a LeRobot one.',
    ])
  const layout = isLerobot(configPath) ? 'lerobot' : 'openpi'
  return { layout, directory, name, configPath, weightsPath: requireWeights(directory) }
}

/** LeRobot's config.json names its policy type; openpi's does not. */
const isLerobot = (configPath: string) =>
  existsSync(configPath) && readConfig(configPath)['type'] !== undefined

/** Parses a JSON object file. Throws POLICY_INVALID. */
export const readConfig = (path: string): JsonObject => readJsonObject(path, 'POLICY_INVALID')

function requireWeights(directory: string): string {
  const found = weightsIn(directory)
  if (found) return found
  throw notFound(directory, [`has no weights; expected ${WEIGHTS.join(' or ')}.`, 'Copy the weights there.'])
}

/** What was found in place of a policy, else `otherwise`. */
function notFound(directory: string, otherwise: readonly [what: string, todo: string]): TurboPiError {
  const [what, todo] = recogniseDirectory(directory) ?? otherwise
  return refuse(`${directory} ${what}\n${todo}`)
}

/** The files whose digests the manifest lists, absolute. Throws POLICY_INVALID. */
export function digestedFiles({ directory, manifest }: PolicyDirectory): string[] {
  return Object.keys(manifest?.digests ?? {}).map(file => {
    const path = fileInside(directory, file, 'policy.json: digests')
    if (!existsSync(path))
      throw refuse(`${path} is listed under "digests" and cannot be read: there is no such file.`)
    requireGivenFile(path, 'POLICY_INVALID')
    return path
  })
}

/** Compares the files that the manifest lists with their digests, some of which may be `known`. Throws POLICY_INVALID. */
export function checkDigests(
  source: PolicyDirectory,
  known: ReadonlyMap<string, string> = new Map(),
): number {
  const expected = Object.values(source.manifest?.digests ?? {})
  for (const [i, path] of digestedFiles(source).entries()) {
    const digest = known.get(path) ?? sha256OfFile(path)
    if (digest !== expected[i]!.toLowerCase())
      throw refuse(
        `${path} has SHA-256 ${digest}, policy.json expects ${expected[i]}. The file was changed or damaged: copy it again, or correct policy.json.`,
      )
  }
  return expected.length
}
