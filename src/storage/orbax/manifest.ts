import { damaged } from './damage.js'
import { type DataFile, fileOf, readDataFiles } from './data-files.js'
import type { ByteReader } from './reader.js'

/** Where a node of the tree lies. */
export interface NodePlace {
  file: DataFile
  offset: number
  length: number
  /** 0 for a leaf. */
  height: number
}

/** What a manifest says of the newest state. */
export interface Manifest {
  maxNodeBytes: number
  /** Undefined for an empty database. */
  root: NodePlace | undefined
}

const SINGLE_FILE = 0
const COMPRESSED = 1
/** More than any run saves. */
const MAX_VERSIONS = 2 ** 20

/**
 * Reads the body of a `manifest.ocdbt`. Its newest version is the last of those it holds itself; the tree of older ones
 * is of no use here.
 */
export function readManifest(reader: ByteReader): Manifest {
  reader.bytes(16)
  const kind = reader.varint()
  if (kind !== SINGLE_FILE)
    throw damaged(reader.path, `is a manifest of kind ${kind}; expected 0, one file with all of it.`)
  reader.varint()
  const maxNodeBytes = reader.varint()
  reader.u8()
  if (reader.varint() === COMPRESSED) reader.u32()
  const files = readDataFiles(reader, '')
  const count = reader.atMost(reader.varint())
  if (count === 0 || count > MAX_VERSIONS)
    throw damaged(reader.path, 'holds no version of the checkpoint: it was never written to its end.')
  reader.varints(count)
  const heights = Array.from({ length: count }, () => reader.u8())
  const fileIds = reader.varints(count)
  const offsets = reader.varints(count)
  const lengths = reader.varints(count)
  const newest = count - 1
  const place = { offset: offsets[newest]!, length: lengths[newest]!, height: heights[newest]! }
  const root = place.length > 0 ? { file: fileOf(reader, files, fileIds[newest]!), ...place } : undefined
  return { maxNodeBytes, root }
}
