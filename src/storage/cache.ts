import { randomUUID } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statfsSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { reasonOf, TurboPiError } from '../errors.js'
import { holderOf, SILENT_MS, signature } from './holder.js'
import { makeDirectory } from './make-directory.js'

/** Where lowered models are kept: `$TURBO_PI_CACHE`, else `~/.cache/turbo-pi`. */
export function cacheDirectory(): string {
  return process.env['TURBO_PI_CACHE'] || join(homedir(), '.cache', 'turbo-pi')
}

/** What a writer of a cache directory is given. */
export interface Draft {
  /** Where to write. */
  directory: string
  /** Says that the writer is alive; called at least every minute. */
  alive(): void
}

/** Throws CACHE_FAILED when fewer than `bytes` are free where `directory` lies. */
export function requireSpace(directory: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(directory)
  const free = bavail * bsize
  if (free < bytes)
    throw new TurboPiError(
      'CACHE_FAILED',
      `${dirname(directory)}: the model needs ${bytes} bytes (${gigabytes(bytes)}), but ${free} bytes (${gigabytes(free)}) are free. Make room there, or set TURBO_PI_CACHE to a folder on another disk.`,
    )
}

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`

const POLL_MS = 200

/**
 * Makes a directory of the cache unless it is there. It is written beside its final place and renamed when complete, so an
 * interrupted run leaves no broken one; what such a run leaves is removed by the next. Of several processes that want the
 * same directory one writes and the others wait. `waiting` is called while that lasts, and may throw to give up.
 * Throws CACHE_FAILED, or what `write` throws.
 */
export async function fillDirectory(
  directory: string,
  write: (draft: Draft) => void,
  waiting: () => void = () => {},
): Promise<void> {
  const there = () => (existsSync(directory) ? directory : undefined)
  await underLock(directory, there, waiting, alive =>
    writeDirectory(directory, alive, draft => {
      write(draft)
      return directory
    }),
  )
}

/**
 * Gives what `find` finds; else runs `work` while no other process does so under the same name. `waiting` is called while
 * others work, and may throw to give up; `work` is to call `alive` at least every minute. Throws CACHE_FAILED, or what
 * `work` throws.
 */
export async function underLock<T>(
  name: string,
  find: () => T | undefined | Promise<T | undefined>,
  waiting: () => void,
  work: (alive: () => void) => Promise<T>,
): Promise<T> {
  const lock = `${name}.lock`
  try {
    makeDirectory(dirname(name))
    for (;;) {
      const found = await find()
      if (found !== undefined) return found
      if (acquire(lock)) break
      waiting()
      await sleep(POLL_MS)
    }
  } catch (error) {
    throw refused(name, error)
  }
  try {
    return (await find()) ?? (await work(() => touch(lock)))
  } finally {
    rmSync(lock, { force: true })
  }
}

/**
 * Lets `write` fill a draft beside `name` and renames it to the directory that `write` gives, once every byte has reached
 * the disk. Drafts that interrupted runs have left under the name are removed: call it under the lock of that name.
 */
export async function writeDirectory(
  name: string,
  alive: () => void,
  write: (draft: Draft) => string | Promise<string>,
): Promise<string> {
  const draft = `${name}.${randomUUID()}.draft`
  let directory: string | undefined
  try {
    removeDrafts(name)
    mkdirSync(draft)
    directory = await write({ directory: draft, alive })
    synchronise(draft)
    renameSync(draft, directory)
    synchronise(dirname(directory), [])
    return directory
  } catch (error) {
    rmSync(draft, { recursive: true, force: true })
    // Of two processes that write the same, one comes too late.
    if (directory !== undefined && existsSync(directory)) return directory
    throw refused(name, error)
  }
}

/** Waits until files of a folder, and the folder's list of them, are on the disk. */
function synchronise(directory: string, files = readdirSync(directory)): void {
  for (const path of [...files.map(file => join(directory, file)), directory]) {
    const descriptor = openSync(path, 'r')
    try {
      fsyncSync(descriptor)
    } finally {
      closeSync(descriptor)
    }
  }
}

function refused(directory: string, error: unknown): TurboPiError {
  if (error instanceof TurboPiError) return error
  return new TurboPiError(
    'CACHE_FAILED',
    `the model could not be written to ${directory}: ${reasonOf(error)}. Set TURBO_PI_CACHE to a folder that can be written and has room.`,
    { cause: error },
  )
}

/** A cache that nobody writes into, or this user does not. What is there can be used all the same. */
const READ_ONLY = new Set(['EROFS', 'EACCES', 'EPERM'])

/** True when the lock is ours. One whose owner is gone is broken; it is only there to spare work, so a race does no harm. */
function acquire(lock: string): boolean {
  const holder = holderOf(lock)
  if (holder && (holder.silentMs > SILENT_MS || holder.alive === false)) rmSync(lock, { force: true })
  try {
    writeFileSync(lock, signature(), { flag: 'wx' })
    return true
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return false
    if (READ_ONLY.has(code)) return true
    throw error
  }
}

function touch(lock: string): void {
  const now = new Date()
  if (existsSync(lock)) utimesSync(lock, now, now)
}

/** Removes what interrupted runs have left; their lock is gone, so nobody writes there. */
function removeDrafts(directory: string): void {
  const left = readdirSync(dirname(directory)).filter(
    name => name.startsWith(`${basename(directory)}.`) && name.endsWith('.draft'),
  )
  for (const name of left) rmSync(join(dirname(directory), name), { recursive: true, force: true })
}
