import { damaged } from './damage.js'
import type { ByteReader } from './reader.js'

/** A file that nodes and values lie in, relative to the database's folder. */
export interface DataFile {
  path: string
  /** Base of the paths in the tables of the nodes that lie in it. */
  base: string
}

/**
 * A table of data files: prefix lengths, suffix lengths, lengths of the base path, then the suffixes. `base` is that of the
 * object which holds the table.
 */
export function readDataFiles(reader: ByteReader, base: string): DataFile[] {
  const count = reader.atMost(reader.varint())
  const prefixes = count > 0 ? [0, ...reader.varints(count - 1)] : []
  const suffixes = reader.varints(count)
  const bases = reader.varints(count)
  const files: DataFile[] = []
  let name = Buffer.alloc(0)
  for (let i = 0; i < count; i++) {
    name = Buffer.concat([name.subarray(0, prefixes[i]), reader.bytes(suffixes[i]!)])
    const path = base + name.toString()
    if (path.startsWith('/') || path.split('/').includes('..'))
      throw damaged(
        reader.path,
        `names the data file ${JSON.stringify(path)}, outside the checkpoint; it is damaged.`,
      )
    files.push({ path, base: base + name.subarray(0, bases[i]).toString() })
  }
  return files
}

/** The file of a table that an entry refers to. */
export function fileOf(reader: ByteReader, files: readonly DataFile[], index: number): DataFile {
  const file = files[index]
  if (file) return file
  throw damaged(reader.path, `refers to data file ${index} of ${files.length}; it is damaged.`)
}
