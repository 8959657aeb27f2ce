import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { damaged, parseObject, reading } from './damage.js'

/** What `_METADATA` says of a saved tree of arrays. */
export interface TreeMetadata {
  /** Stored name of each array, its keys joined with dots, by its path: its keys joined with slashes. */
  arrays: ReadonlyMap<string, string>
  /** Arrays of zeros are stored too, so that a chunk that is not there was lost. */
  zerosAreStored: boolean
}

const FILE = '_METADATA'

type Entry = { key_metadata?: { key: string | number }[]; value_metadata?: { value_type?: unknown } }

const isKey = (value: unknown) => {
  const { key } = (value ?? {}) as { key?: unknown }
  return typeof key === 'string' || typeof key === 'number'
}

/** Reads `_METADATA`, which Orbax demands too. Throws CHECKPOINT_INVALID. */
export function readTreeMetadata(directory: string): TreeMetadata {
  const path = join(directory, FILE)
  if (!existsSync(path))
    throw damaged(
      path,
      'is missing; it lists the arrays of an Orbax checkpoint. Copy the whole checkpoint again.',
    )
  const json = parseObject(
    path,
    reading(path, () => readFileSync(path, 'utf8')),
  )
  const tree = json['tree_metadata']
  if (typeof tree !== 'object' || tree === null) throw damaged(path, 'expected an object "tree_metadata".')
  const arrays = new Map<string, string>()
  for (const [name, entry] of Object.entries(tree as Record<string, Entry | null>)) {
    const { key_metadata: keys, value_metadata: value } = entry ?? {}
    if (!Array.isArray(keys) || !keys.every(isKey))
      throw damaged(path, `tree_metadata of ${name}: expected a list "key_metadata" of keys.`)
    // An empty node of the tree stores nothing.
    if (value?.value_type === 'None') continue
    const parts = keys.map(({ key }) => String(key))
    arrays.set(parts.join('/'), parts.join('.'))
  }
  return { arrays, zerosAreStored: json['store_array_data_equal_to_fill_value'] === true }
}
