import { failed } from '../remote-file.js'

/** One entry of an archive, as its table of contents has it. */
export interface Entry {
  /** With '/' on every system; a folder's may end with one. */
  path: string
  /** Bytes when it is unpacked. */
  size: number
  kind: 'file' | 'folder' | 'other'
}

/** A checkpoint in chunks has thousands of files. */
const MAX_ENTRIES = 100_000
/** Weights hardly shrink, and JSON to a tenth: what grows more than this was made to fill a disk. */
const MAX_GROWTH = 100
/** Where growth means nothing: small archives of text. */
const SMALL = 2 ** 26

/**
 * Refuses an archive that would write outside its folder, over itself, or far more than it holds, before anything of it is
 * written. Gives the bytes that it unpacks to. Throws DOWNLOAD_FAILED.
 */
export function checkEntries(entries: readonly Entry[], archiveBytes: number, source: string): number {
  const refuse = (detail: string) => failed(`${source}: ${detail}\nDo not use this archive.`)
  if (entries.length > MAX_ENTRIES) throw refuse(`it has more than ${MAX_ENTRIES} entries.`)
  const files = new Set<string>()
  let total = 0
  for (const { path, size, kind } of entries) {
    const shown = JSON.stringify(path)
    const parts = path.replace(/\/$/, '').split('/')
    if (kind === 'other')
      throw refuse(`its entry ${shown} is neither a file nor a folder but a link or a device.`)
    if (path.includes('\\') || path.includes('\0') || parts.some(part => part === '..' || part === ''))
      throw refuse(`its entry ${shown} leads out of its folder.`)
    const place = parts.filter(part => part !== '.').join('/')
    if (kind === 'file' && files.has(place)) throw refuse(`it has two entries ${shown}.`)
    if (kind === 'file') files.add(place)
    total += size
  }
  if (files.size === 0) throw failed(`${source}: there is no file in it.\nCheck the address.`)
  if (total > Math.max(SMALL, MAX_GROWTH * archiveBytes))
    throw refuse(`its ${archiveBytes} bytes unpack to ${total}; no checkpoint shrinks so far.`)
  return total
}
