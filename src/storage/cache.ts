import { randomUUID } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { homedir, hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { reasonOf, TurboPiError } from '../errors.js'

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

/** A lock that was not touched for so long has lost its owner. */
const ABANDONED_MS = 120_000
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
  const lock = `${directory}.lock`
  const draft = `${directory}.${randomUUID()}.draft`
  try {
    mkdirSync(dirname(directory), { recursive: true })
    while (!existsSync(directory) && !acquire(lock)) {
      waiting()
      await sleep(POLL_MS)
    }
  } catch (error) {
    throw refused(directory, error)
  }
  if (existsSync(directory)) return
  try {
    removeDrafts(directory)
    mkdirSync(draft)
    write({ directory: draft, alive: () => touch(lock) })
    renameSync(draft, directory)
  } catch (error) {
    rmSync(draft, { recursive: true, force: true })
    if (!existsSync(directory)) throw refused(directory, error)
  } finally {
    rmSync(lock, { force: true })
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

/** True when the lock is ours. One whose owner is gone is broken; it is only there to spare work, so a race does no harm. */
function acquire(lock: string): boolean {
  if (isAbandoned(lock)) rmSync(lock, { force: true })
  try {
    writeFileSync(lock, JSON.stringify({ host: hostname(), pid: process.pid }), { flag: 'wx' })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

function isAbandoned(lock: string): boolean {
  const found = statSync(lock, { throwIfNoEntry: false })
  if (!found) return false
  if (Date.now() - found.mtimeMs > ABANDONED_MS) return true
  try {
    const { host, pid } = JSON.parse(readFileSync(lock, 'utf8')) as { host: string; pid: number }
    return host === hostname() && !isRunning(pid)
  } catch {
    return false
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
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
