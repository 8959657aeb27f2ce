import { randomUUID } from 'node:crypto'
import { readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Holder, holderOf } from './holder.js'
import { makeDirectory } from './make-directory.js'
import { markUse, usersOf } from './use.js'

/** Folders of the cache, and what lies in them: a directory an entry. */
const FOLDERS = { models: 'model', engines: 'engines', random: 'random weights' } as const

export interface CacheEntry {
  kind: (typeof FOLDERS)[keyof typeof FOLDERS] | 'unfinished'
  name: string
  directory: string
  bytes: number
  made: Date
  /** When it was last loaded. */
  used: Date
  /** Who has it loaded, writes it, or is looking for it. */
  users: readonly Holder[]
}

/** Keeps others from pruning while this process looks for what it needs, until the function that it gives is called. */
export function markStart(cache: string): () => void {
  const models = join(cache, 'models')
  try {
    makeDirectory(models)
  } catch {
    // Whoever writes there says why it cannot.
  }
  return markUse(models)
}

const startersOf = (cache: string) => usersOf(join(cache, 'models'))

/** What a cache holds, the least recently used first. */
export function listEntries(cache: string): CacheEntry[] {
  const starters = startersOf(cache)
  const entries: CacheEntry[] = []
  for (const [folder, kind] of Object.entries(FOLDERS)) {
    for (const name of directoriesIn(join(cache, folder))) {
      const directory = join(cache, folder, name)
      const draft = /^(.*)\.[^.]+\.draft$/.exec(name)
      const writer = draft ? holderOf(join(cache, folder, `${draft[1]}.lock`)) : undefined
      const users = [
        ...starters,
        ...usersOf(directory),
        ...(writer && writer.alive !== false ? [writer] : []),
      ]
      entries.push({ kind: draft ? 'unfinished' : kind, name, directory, users, ...sizeOf(directory) })
    }
  }
  return entries.sort((a, b) => a.used.getTime() - b.used.getTime())
}

/** Removes an entry, unless somebody has begun to use it: false. */
export function removeEntry(cache: string, { directory }: CacheEntry): boolean {
  const aside = `${directory}.${randomUUID()}.draft`
  renameSync(directory, aside)
  // Who marks it from here on finds that it is gone.
  if (startersOf(cache).length + usersOf(directory).length > 0) {
    renameSync(aside, directory)
    return false
  }
  rmSync(aside, { recursive: true, force: true })
  return true
}

function directoriesIn(folder: string): string[] {
  const found = statSync(folder, { throwIfNoEntry: false })
  if (!found?.isDirectory()) return []
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry =>
    entry.isDirectory() ? [entry.name] : [],
  )
}

function sizeOf(directory: string): Pick<CacheEntry, 'bytes' | 'made' | 'used'> {
  const files = readdirSync(directory).map(name => statSync(join(directory, name)))
  const { mtime: used } = statSync(directory)
  return {
    bytes: files.reduce((sum, { size }) => sum + size, 0),
    made: new Date(Math.min(used.getTime(), ...files.map(({ mtimeMs }) => mtimeMs))),
    used,
  }
}
