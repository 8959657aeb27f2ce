import { createWriteStream } from 'node:fs'
import { dirname, join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { crc32 } from 'node:zlib'
import { openPromise, type Entry as ZipEntry, type ZipFile } from 'yauzl'
import { makeDirectory } from '../../../storage/make-directory.js'
import type { Entry } from './entries.js'

/** Type of a file in the upper half of its attributes, where the archive was made on Unix: `st_mode` of stat(2). */
const TYPE_MASK = 0o170000
const REGULAR = 0o100000
const FOLDER = 0o040000

function kindOf({ fileName, externalFileAttributes }: ZipEntry): Entry['kind'] {
  const type = (externalFileAttributes >>> 16) & TYPE_MASK
  if (fileName.endsWith('/')) return type === 0 || type === FOLDER ? 'folder' : 'other'
  return type === 0 || type === REGULAR ? 'file' : 'other'
}

/** What a zip archive holds. Throws an Error for one that is damaged, encrypted, or names files outside its folder. */
export async function zipEntries(path: string): Promise<Entry[]> {
  const entries: Entry[] = []
  for await (const entry of (await openPromise(path)).eachEntry()) {
    if (!entry.canDecodeFileData())
      throw new Error(`its entry ${JSON.stringify(entry.fileName)} is encrypted or of an unknown compression`)
    entries.push({ path: entry.fileName, size: entry.uncompressedSize, kind: kindOf(entry) })
  }
  return entries
}

/** Unpacks a zip archive whose entries were checked. Throws an Error for one whose bytes have another checksum. */
export async function unpackZip(path: string, folder: string): Promise<void> {
  const zip = await openPromise(path)
  for await (const entry of zip.eachEntry()) {
    const target = join(folder, entry.fileName)
    makeDirectory(entry.fileName.endsWith('/') ? target : dirname(target))
    if (!entry.fileName.endsWith('/')) await unpackFile(zip, entry, target)
  }
}

/** yauzl compares the size; the checksum is ours to compare. */
async function unpackFile(zip: ZipFile, entry: ZipEntry, target: string): Promise<void> {
  let crc = 0
  const summed = new Transform({
    transform(chunk: Buffer, _, done) {
      crc = crc32(chunk, crc)
      done(null, chunk)
    },
  })
  await pipeline(await zip.openReadStreamPromise(entry), summed, createWriteStream(target, { flags: 'wx' }))
  if (crc !== entry.crc32) throw new Error(`its entry ${JSON.stringify(entry.fileName)} is damaged (CRC-32)`)
}
