import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Blob, type Files, memoryBlob } from './blob.js'
import { damaged } from './damage.js'
import { type NodePlace, readManifest } from './manifest.js'
import { readNode, type Value } from './node.js'
import { openObject } from './ocdbt-object.js'

/** Where the arrays' metadata and chunks lie: an OCDBT database, or a folder for each array. */
export interface KeyValues {
  /** The bytes under a key such as `params.action_in_proj.kernel/0.0`; undefined when there are none. */
  get(key: string): Blob | undefined
  /** What to name in a message about a key. */
  pathOf(key: string): string
}

const MANIFEST = 'manifest.ocdbt'
const MAX_MANIFEST_BYTES = 2 ** 28
/** More than any node that Orbax writes; a manifest that asks for more is damaged. */
const MAX_NODE_BYTES = 2 ** 28

export function openKeyValues(directory: string, files: Files): KeyValues {
  return existsSync(join(directory, MANIFEST)) ? openOcdbt(directory, files) : folders(directory, files)
}

/** Every array has its folder, every chunk its file. */
function folders(directory: string, files: Files): KeyValues {
  const pathOf = (key: string) => join(directory, key)
  return {
    pathOf,
    get: key =>
      statSync(pathOf(key), { throwIfNoEntry: false })?.isFile() ? files.blob(pathOf(key)) : undefined,
  }
}

/** Reads the whole tree; checks that every value lies within its file. */
function openOcdbt(directory: string, files: Files): KeyValues {
  const manifestPath = join(directory, MANIFEST)
  const manifest = readManifest(openObject(files.blob(manifestPath), 'manifest', MAX_MANIFEST_BYTES))
  const nodeLimit = Math.min(manifest.maxNodeBytes, MAX_NODE_BYTES)
  const values = new Map<string, Value>()
  const within = (path: string, offset: number, length: number): Blob => {
    const whole = join(directory, path)
    if (!existsSync(whole))
      throw damaged(whole, 'is missing, but the checkpoint needs it. Copy the whole checkpoint again.')
    const size = files.size(whole)
    if (offset + length > size)
      throw damaged(
        whole,
        `has ${size} bytes; the checkpoint has data there up to byte ${offset + length}. It is cut short: copy it again.`,
      )
    return files.blob(whole, offset, length)
  }
  const visit = (place: NodePlace, prefix: Buffer) => {
    const node = readNode(
      openObject(within(place.file.path, place.offset, place.length), 'node', nodeLimit),
      place,
      prefix,
    )
    if ('children' in node) for (const child of node.children) visit(child.place, child.prefix)
    else
      for (const [key, value] of node.values) {
        if (!('inline' in value)) within(value.file.path, value.offset, value.length)
        values.set(key, value)
      }
  }
  if (manifest.root) visit(manifest.root, Buffer.alloc(0))
  return {
    pathOf: () => manifestPath,
    get(key) {
      const value = values.get(key)
      if (!value) return undefined
      return 'inline' in value
        ? memoryBlob(manifestPath, value.inline)
        : files.blob(join(directory, value.file.path), value.offset, value.length)
    },
  }
}
