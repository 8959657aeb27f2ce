import { type Blob, memoryBlob } from './blob.js'
import { crc32c } from './crc32c.js'
import { damaged } from './damage.js'
import { ByteReader } from './reader.js'
import { decodeZstd } from './zstd.js'

const MAGIC = { manifest: 0x0cdb3a2a, node: 0x0cdb20de } as const
const ENVELOPE = 18
const CHECKSUM = 4
const COMPRESSION = { none: 0, zstd: 1 } as const

/**
 * Opens an OCDBT object: big-endian magic, length of all of it, version, compression, body, CRC-32C of everything before.
 * The body, of at most `limit` bytes, is given back decoded.
 */
export function openObject(blob: Blob, kind: keyof typeof MAGIC, limit: number): ByteReader {
  const { path } = blob
  if (blob.byteLength < ENVELOPE)
    throw damaged(path, `has ${blob.byteLength} bytes, too few for an OCDBT ${kind}. Copy it again.`)
  const bytes = blob.read(0, blob.byteLength)
  const view = new DataView(bytes.buffer)
  if (view.getUint32(0) !== MAGIC[kind])
    throw damaged(path, `does not begin as an OCDBT ${kind}; it is damaged or another file.`)
  const header = new ByteReader(path, bytes.subarray(4, -CHECKSUM))
  const length = header.u64()
  if (length !== bytes.byteLength)
    throw damaged(
      path,
      `says that its ${kind} has ${length} bytes, but ${bytes.byteLength} are there. Copy it again.`,
    )
  const sum = crc32c(bytes.subarray(0, -CHECKSUM))
  if (sum !== view.getUint32(bytes.byteLength - CHECKSUM, true))
    throw damaged(path, `the checksum (CRC-32C) of its ${kind} is wrong; the file is damaged, copy it again.`)
  const version = header.varint()
  if (version !== 0) throw damaged(path, `is OCDBT version ${version}; this server reads version 0.`)
  const compression = header.varint()
  const body = header.bytes(header.left)
  if (compression === COMPRESSION.none) return new ByteReader(path, body)
  if (compression !== COMPRESSION.zstd)
    throw damaged(path, `its ${kind} is compressed in way ${compression}; known are 0 (none) and 1 (zstd).`)
  return new ByteReader(path, decodeZstd(memoryBlob(path, body), limit))
}
