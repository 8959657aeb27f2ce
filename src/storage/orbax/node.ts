import { damaged } from './damage.js'
import { type DataFile, fileOf, readDataFiles } from './data-files.js'
import type { NodePlace } from './manifest.js'
import type { ByteReader } from './reader.js'

/** A key's value: in the node itself, or a run of bytes of a data file. */
export type Value = { inline: Uint8Array } | { file: DataFile; offset: number; length: number }

const INLINE = 0
const INDIRECT = 1

/** A node's entries by whole key: values of a leaf, children of an interior node with the start of all their keys. */
export type Node =
  | { height: 0; values: [key: string, value: Value][] }
  | { height: number; children: { prefix: Buffer; place: NodePlace }[] }

/** Reads the body of a node. `prefix` is what its parent says that all its keys begin with. */
export function readNode(reader: ByteReader, place: NodePlace, prefix: Buffer): Node {
  const height = reader.u8()
  if (height !== place.height)
    throw damaged(reader.path, `holds a node of height ${height}; expected ${place.height}. It is damaged.`)
  const files = readDataFiles(reader, place.file.base)
  const count = reader.atMost(reader.varint())
  const prefixes = count > 0 ? [0, ...reader.varints(count - 1)] : []
  const suffixes = reader.varints(count)
  const common = height > 0 ? reader.varints(count) : []
  let key = Buffer.alloc(0)
  const keys = suffixes.map((length, i) => {
    key = Buffer.concat([key.subarray(0, prefixes[i]), reader.bytes(length)])
    return key
  })
  if (height === 0)
    return {
      height,
      values: readValues(reader, files, count).map((value, i) => [
        Buffer.concat([prefix, keys[i]!]).toString(),
        value,
      ]),
    }
  const [ids, offsets, lengths] = [0, 1, 2].map(() => reader.varints(count)) as [number[], number[], number[]]
  return {
    height,
    children: keys.map((key, i) => ({
      prefix: Buffer.concat([prefix, key.subarray(0, common[i])]),
      place: {
        file: fileOf(reader, files, ids[i]!),
        offset: offsets[i]!,
        length: lengths[i]!,
        height: height - 1,
      },
    })),
  }
}

function readValues(reader: ByteReader, files: readonly DataFile[], count: number): Value[] {
  const lengths = reader.varints(count)
  const kinds = Array.from({ length: count }, () => reader.u8())
  const unknown = kinds.find(kind => kind !== INLINE && kind !== INDIRECT)
  if (unknown !== undefined)
    throw damaged(
      reader.path,
      `holds a value of kind ${unknown}; known are 0 (inline) and 1 (in a data file).`,
    )
  const outside = kinds.filter(kind => kind === INDIRECT).length
  const ids = reader.varints(outside)
  const offsets = reader.varints(outside)
  let next = 0
  return lengths.map((length, i) => {
    if (kinds[i] === INLINE) return { inline: reader.bytes(length) }
    const entry = next++
    return { file: fileOf(reader, files, ids[entry]!), offset: offsets[entry]!, length }
  })
}
