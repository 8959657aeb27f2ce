import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32, deflateRawSync } from 'node:zlib'
import { create, Header, type HeaderData } from 'tar'

/** A file of a zip archive, and what of it is a lie. */
export interface ZipFile {
  name: string
  content: Buffer
  /** Bytes that the table of contents states. */
  size?: number
  crc?: number
  /** `st_mode` of stat(2). */
  mode?: number
}

/** A zip archive (APPNOTE.TXT 4.3), each file deflated. */
export function zip(files: readonly ZipFile[]): Buffer {
  const local: Buffer[] = []
  const central: Buffer[] = []
  let offset = 0
  for (const { name, content, size = content.length, crc = crc32(content), mode = 0o100644 } of files) {
    const packed = deflateRawSync(content)
    const common = Buffer.alloc(26)
    common.writeUInt16LE(20, 0)
    common.writeUInt16LE(8, 4)
    common.writeUInt32LE(crc, 10)
    common.writeUInt32LE(packed.length, 14)
    common.writeUInt32LE(size, 18)
    common.writeUInt16LE(Buffer.byteLength(name), 22)
    const head = Buffer.concat([Buffer.from('PK\x03\x04'), common, Buffer.from(name), packed])
    const rest = Buffer.alloc(14)
    rest.writeUInt32LE((mode << 16) >>> 0, 6)
    rest.writeUInt32LE(offset, 10)
    central.push(Buffer.from('PK\x01\x02'), Buffer.from([20, 3]), common, rest, Buffer.from(name))
    local.push(head)
    offset += head.length
  }
  const table = Buffer.concat(central)
  const end = Buffer.alloc(18)
  for (const at of [4, 6]) end.writeUInt16LE(files.length, at)
  end.writeUInt32LE(table.length, 8)
  end.writeUInt32LE(offset, 12)
  return Buffer.concat([...local, table, Buffer.from('PK\x05\x06'), end])
}

/** A tar archive of a folder's contents. */
export function tarOf(folder: string, names: readonly string[], gzip: boolean): Buffer {
  const file = join(folder, '..', `${gzip}.tar`)
  create({ cwd: folder, file, gzip, sync: true, portable: true }, [...names])
  return readFileSync(file)
}

/** A tar archive of one entry, as no program writes it. */
export function tarEntry(fields: HeaderData, content = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(512)
  new Header({ mode: 0o644, size: content.length, type: 'File', ...fields }).encode(head)
  return Buffer.concat([head, content, Buffer.alloc(1024 + ((512 - (content.length % 512)) % 512))])
}

export const sha256Of = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
