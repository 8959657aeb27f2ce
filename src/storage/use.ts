import { randomUUID } from 'node:crypto'
import { readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { type Holder, holderOf, SILENT_MS, signature } from './holder.js'

/*
 * A process that has an entry of the cache loaded keeps a file `<entry>.<id>.use` beside it, so that no other one prunes it.
 */
const TOUCH_MS = 60_000
const mine = new Set<string>()

const remove = (mark: string) => {
  mine.delete(mark)
  rmSync(mark, { force: true })
}

/**
 * Marks an entry as in use by this process, until the function that it gives is called or the process ends. An entry's
 * directory keeps when that was last. Where the cache cannot be written nobody prunes it either, and nothing is marked.
 */
export function markUse(directory: string): () => void {
  const mark = `${directory}.${randomUUID()}.use`
  try {
    writeFileSync(mark, signature())
  } catch {
    return () => {}
  }
  touch(directory)
  if (mine.size === 0) process.once('exit', () => mine.forEach(remove))
  mine.add(mark)
  const timer = setInterval(() => touch(mark), TOUCH_MS)
  timer.unref()
  return () => {
    clearInterval(timer)
    remove(mark)
  }
}

function touch(path: string): void {
  const now = new Date()
  try {
    utimesSync(path, now, now)
  } catch {
    // It is gone, or belongs to another user: then its time of use stays as it was.
  }
}

/** Who uses an entry; marks of processes that are gone are removed. */
export function usersOf(directory: string): Holder[] {
  const users: Holder[] = []
  for (const name of readdirSync(dirname(directory))) {
    if (!name.startsWith(`${basename(directory)}.`) || !name.endsWith('.use')) continue
    const mark = join(dirname(directory), name)
    const holder = holderOf(mark)
    if (holder && (holder.alive ?? holder.silentMs < SILENT_MS)) users.push(holder)
    else rmSync(mark, { force: true })
  }
  return users
}
