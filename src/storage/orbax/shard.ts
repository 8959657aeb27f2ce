import { type Blob, partOf } from './blob.js'
import { crc32c } from './crc32c.js'
import { damaged } from './damage.js'

/** Offset and length of each chunk, 64 bits each, then a CRC-32C. */
const ENTRY = 16
const CHECKSUM = 4
/** Offset and length of a chunk that is not stored. */
const ABSENT = 2n ** 64n - 1n

/** Chunk number `index` of a zarr v3 shard of `count` chunks; undefined when it is not stored. */
export function chunkOfShard(shard: Blob, index: number, count: number): Blob | undefined {
  const size = count * ENTRY + CHECKSUM
  const { path } = shard
  if (shard.byteLength < size)
    throw damaged(path, `has a shard of ${shard.byteLength} bytes, too few for its index. Copy it again.`)
  const bytes = shard.read(shard.byteLength - size, size)
  const view = new DataView(bytes.buffer)
  if (crc32c(bytes.subarray(0, -CHECKSUM)) !== view.getUint32(size - CHECKSUM, true))
    throw damaged(
      path,
      'the checksum (CRC-32C) of its shard index is wrong; the file is damaged, copy it again.',
    )
  const offset = view.getBigUint64(index * ENTRY, true)
  const length = view.getBigUint64(index * ENTRY + 8, true)
  if (offset === ABSENT && length === ABSENT) return undefined
  if (offset + length > BigInt(shard.byteLength - size))
    throw damaged(path, `its shard index points at byte ${offset + length}, behind the data. It is damaged.`)
  return partOf(shard, Number(offset), Number(length))
}
