import { createHash } from 'node:crypto'
import { closeSync, existsSync, openSync, readSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { reasonOf, TurboPiError } from '../../errors.js'
import { type JsonObject, readJsonObject } from '../../storage/json-file.js'
import { type Manifest, readManifest } from './manifest.js'

/** A policy directory and where its parts lie. */
export interface PolicySource {
  /** A manifest beside a LeRobot checkpoint refines it, and the layout stays LeRobot's. */
  layout: 'manifest' | 'openpi' | 'lerobot'
  directory: string
  name: string
  manifest?: Manifest
  configPath: string
  /** A safetensors file or the index of a sharded checkpoint. */
  weightsPath: string
}

const refuse = (detail: string) => new TurboPiError('POLICY_INVALID', detail)

/** Recognises a policy directory: our manifest, an openpi checkpoint or a LeRobot one. Throws POLICY_INVALID. */
export function readSource(path: string): PolicySource {
  const directory = resolve(path)
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory())
    throw refuse(`${directory} is not a directory; expected a policy directory or a checkpoint directory.`)
  const name = basename(directory)
  const manifestPath = join(directory, 'policy.json')
  if (existsSync(manifestPath)) {
    const manifest = readManifest(manifestPath)
    const configPath = join(directory, manifest.modelConfig ?? 'config.json')
    const weightsPath = manifest.weights ? join(directory, manifest.weights) : weightsIn(directory)
    const layout = isLerobot(configPath) ? 'lerobot' : 'manifest'
    return { layout, directory, name, manifest, configPath, weightsPath }
  }
  const configPath = join(directory, 'config.json')
  if (!existsSync(configPath))
    throw refuse(
      `${directory} has neither policy.json nor config.json; expected a policy directory, an openpi checkpoint ` +
        'converted to PyTorch (model.safetensors and config.json) or a LeRobot one.',
    )
  const layout = isLerobot(configPath) ? 'lerobot' : 'openpi'
  return { layout, directory, name, configPath, weightsPath: weightsIn(directory) }
}

/** LeRobot's config.json names its policy type; openpi's does not. */
const isLerobot = (configPath: string) =>
  existsSync(configPath) && readConfig(configPath)['type'] !== undefined

/** Parses a JSON object file. Throws POLICY_INVALID. */
export const readConfig = (path: string): JsonObject => readJsonObject(path, 'POLICY_INVALID')

function weightsIn(directory: string): string {
  const files = ['model.safetensors', 'model.safetensors.index.json'].map(file => join(directory, file))
  const found = files.find(existsSync)
  if (found) return found
  const hint = existsSync(join(directory, 'params'))
    ? "It holds a JAX checkpoint: convert it with openpi's examples/convert_jax_model_to_pytorch.py."
    : 'Copy the weights there.'
  throw refuse(
    `${directory} has no weights; expected ${files.map(file => basename(file)).join(' or ')}. ${hint}`,
  )
}

/** Compares the files that the manifest lists with their digests. Throws POLICY_INVALID. */
export function checkDigests({ directory, manifest }: PolicySource): number {
  const digests = Object.entries(manifest?.digests ?? {})
  for (const [file, expected] of digests) {
    const digest = sha256(join(directory, file))
    if (digest !== expected.toLowerCase())
      throw refuse(
        `${join(directory, file)} has SHA-256 ${digest}, policy.json expects ${expected}. The file was changed or damaged: copy it again, or correct policy.json.`,
      )
  }
  return digests.length
}

function sha256(path: string): string {
  const hash = createHash('sha256')
  const buffer = Buffer.allocUnsafe(1 << 22)
  let descriptor: number
  try {
    descriptor = openSync(path, 'r')
  } catch (error) {
    throw refuse(`${path} is listed under "digests" and cannot be read: ${reasonOf(error)}`)
  }
  try {
    for (let count = 1; count > 0; ) {
      count = readSync(descriptor, buffer)
      hash.update(buffer.subarray(0, count))
    }
    return hash.digest('hex')
  } finally {
    closeSync(descriptor)
  }
}
