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

type Key = { key?: unknown }
type Entry = { key_metadata?: Key[]; value_metadata?: { value_type?: unknown } }

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
  for (const [name, { key_metadata: keys, value_metadata: value }] of Object.entries(
    tree as Record<string, Entry>,
  )) {
    if (!Array.isArray(keys) || keys.some(({ key }) => typeof key !== 'string' && typeof key !== 'number'))
      throw damaged(path, `tree_metadata of ${name}: expected a list "key_metadata" of keys.`)
    // An empty node of the tree stores nothing.
    if (value?.value_type === 'None') continue
    const parts = keys.map(({ key }) => String(key))
    arrays.set(parts.join('/'), parts.join('.'))
  }
  return { arrays, zerosAreStored: json['store_array_data_equal_to_fill_value'] === true }
}
