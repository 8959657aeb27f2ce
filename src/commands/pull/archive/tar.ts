import { extract, list, type ReadEntry } from 'tar'
import type { Entry } from './entries.js'

const KINDS: Readonly<Record<string, Entry['kind']>> = {
  File: 'file',
  OldFile: 'file',
  ContiguousFile: 'file',
  Directory: 'folder',
}

/** Decompressed bytes for one compressed byte; what compresses further is no checkpoint. */
const limits = { strict: true, maxDecompressionRatio: 200 } as const

/** What a tar archive holds, compressed with gzip or not. Throws an Error for one that is damaged. */
export async function tarEntries(path: string): Promise<Entry[]> {
  const entries: Entry[] = []
  await list({
    ...limits,
    file: path,
    onReadEntry: ({ path, size, type }: ReadEntry) =>
      void entries.push({ path, size, kind: KINDS[type] ?? 'other' }),
  })
  return entries
}

/** Unpacks a tar archive whose entries were checked, with the rights that new files have: none of its own. */
export const unpackTar = (path: string, folder: string): Promise<void> =>
  extract({
    ...limits,
    file: path,
    cwd: folder,
    preserveOwner: false,
    noMtime: true,
    keep: true,
    onReadEntry: entry => {
      entry.mode = entry.type === 'Directory' ? 0o777 : 0o666
    },
  })
