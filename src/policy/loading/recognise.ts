import { existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { weightsIn } from '../../families/pi0/open-tensors.js'
import { parseRemote, type Remote } from '../../storage/downloads.js'
import { readJsonObject } from '../../storage/json-file.js'

/** How far below and above a folder a policy is looked for, and how many folders are opened for it. */
const DEPTH_BELOW = 4
const DEPTH_ABOVE = 3
const MAX_FOLDERS = 1000
/** Folders of a checkpoint that hold no other. */
const PARTS = new Set(['assets', 'params', 'train_state', 'training_state', 'node_modules'])

const UNFINISHED = /\.(incomplete|part|partial|crdownload|aria2|download)$/
const PICKLE = /\.(bin|pt|pth|ckpt|pkl)$/

/** Two lines: what something is, and what to do. */
type Recognised = readonly [what: string, todo: string] | undefined

const isPolicy = (directory: string) =>
  existsSync(join(directory, 'policy.json')) || weightsIn(directory) !== undefined

const REMOTES: Readonly<Record<Remote['kind'], string>> = {
  hub: 'a repository on Hugging Face',
  bucket: 'a folder of Google Cloud Storage',
  archive: 'an archive to unpack',
}

/** What a path is that is no directory. */
export function recognisePath(path: string): Recognised {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (stats?.isFile())
    return isPolicy(dirname(resolve(path)))
      ? ['is not a directory but a file of one.', `Did you mean ${dirname(resolve(path))}?`]
      : ['is not a directory but a file.', 'Unpack it, if it is an archive, and give the folder.']
  if (stats) return undefined
  const remote = parseRemote(path)
  if (!remote && /^https?:\/\//.test(path))
    return ['is not a directory but an address.', 'Download and unpack it, and give the folder.']
  if (!remote) return undefined
  return [
    `is not a directory here, but may be ${REMOTES[remote.kind]}; it was not downloaded.`,
    `Run: turbo-pi pull ${path}`,
  ]
}

/** What a directory is in which no weights were found. */
export function recogniseDirectory(directory: string): Recognised {
  const names = readdirSync(directory)
  const unfinished = unfinishedIn(directory, names)
  if (unfinished)
    return [
      `holds ${unfinished}, an unfinished download, and no weights.`,
      'Run the download again until it is done.',
    ]
  if (names.includes('adapter_config.json')) return adapter(directory)
  const saving = names.find(name => name.startsWith('params.orbax-checkpoint-tmp'))
  if (saving)
    return [`holds ${saving}: a JAX checkpoint that was not saved to its end.`, 'Take another step.']
  return inner(directory, names) ?? outer(directory) ?? otherWeights(names)
}

function unfinishedIn(directory: string, names: readonly string[]): string | undefined {
  // Where Hugging Face's client keeps what it has not finished.
  const cache = '.cache/huggingface/download'
  const cached = existsSync(join(directory, cache)) ? readdirSync(join(directory, cache)) : []
  return (
    names.find(name => UNFINISHED.test(name)) ??
    cached.filter(name => UNFINISHED.test(name)).map(name => `${cache}/${name}`)[0]
  )
}

function adapter(directory: string): Recognised {
  const base = readJsonObject(join(directory, 'adapter_config.json'), 'POLICY_INVALID')[
    'base_model_name_or_path'
  ]
  const named = typeof base === 'string' && base !== '' ? ` (${base})` : ''
  return [
    `is a PEFT adapter (LoRA) alone, without the weights that it was trained on${named}.`,
    `Give the base's folder, and the adapter beside it: turbo-pi doctor BASE --adapter ${directory}`,
  ]
}

/** Too high: policies in the folders below. */
function inner(directory: string, names: readonly string[]): Recognised {
  const found: string[] = []
  let folders = names.map(name => join(directory, name))
  let opened = 0
  for (let depth = 0; depth < DEPTH_BELOW; depth++) {
    const next: string[] = []
    for (const folder of folders) {
      if (opened >= MAX_FOLDERS || !statSync(folder, { throwIfNoEntry: false })?.isDirectory()) continue
      opened++
      if (isPolicy(folder)) found.push(folder)
      else
        for (const name of readdirSync(folder))
          if (!PARTS.has(name) && !name.startsWith('.')) next.push(join(folder, name))
    }
    folders = next
  }
  // The last step, and a link named "last" before any step.
  found.sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))
  if (found.length === 0) return undefined
  const others = found.length > 1 ? ` (${found.length} of them)` : ''
  return [
    `is not a policy itself; the folders below it hold policies${others}.`,
    `Did you mean ${found.slice(0, 3).join(' or ')}?`,
  ]
}

/** Too low: a part of a policy. */
function outer(directory: string): Recognised {
  let above = directory
  for (let depth = 0; depth < DEPTH_ABOVE; depth++) {
    above = dirname(above)
    if (!isPolicy(above)) continue
    const inside = existsSync(join(directory, '_METADATA'))
      ? 'the inside of a JAX checkpoint'
      : 'a part of a policy'
    return [`is ${inside}, not the whole.`, `Did you mean ${above}?`]
  }
  return undefined
}

/** Weights that are not read, or not under this name. */
function otherWeights(names: readonly string[]): Recognised {
  const pickle = names.find(name => PICKLE.test(name))
  if (pickle)
    return [
      `has no weights but ${pickle}, a PyTorch pickle, which is not read, since it runs code.`,
      'Save the weights as model.safetensors (safetensors.torch.save_file, or save_pretrained of the policy).',
    ]
  const named = names.find(name => name.endsWith('.safetensors') && !name.startsWith('policy_'))
  return named === undefined
    ? undefined
    : [
        `has no model.safetensors but ${named}.`,
        named.includes('-of-')
          ? 'It is one of several shards: copy all of them and model.safetensors.index.json.'
          : `Rename it to model.safetensors, or name it in a policy.json ("weights": "${named}").`,
      ]
}
