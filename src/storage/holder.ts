import { readFileSync, readlinkSync, statSync } from 'node:fs'
import { hostname } from 'node:os'

/** A file that its owner touches at least every minute has lost it when it was silent for so long. */
export const SILENT_MS = 120_000

/** Who stands in a file that holds something: a lock, or an entry in use. */
export interface Holder {
  /** For people. */
  name: string
  /** Undefined where its processes cannot be seen from here: another machine or container. */
  alive: boolean | undefined
  silentMs: number
}

/** What a process writes into the files that it holds. */
export const signature = () => JSON.stringify({ host: hostname(), pid: process.pid, space: processSpace() })

/** Undefined when there is no such file. */
export function holderOf(path: string): Holder | undefined {
  const found = statSync(path, { throwIfNoEntry: false })
  if (!found) return undefined
  const silentMs = Date.now() - found.mtimeMs
  try {
    const { host, pid, space } = JSON.parse(readFileSync(path, 'utf8')) as Signature
    const here = host === hostname() && (space === undefined || space === processSpace())
    return { name: `process ${pid} on ${host}`, alive: here ? isRunning(pid) : undefined, silentMs }
  } catch {
    return { name: 'a process that has just begun', alive: undefined, silentMs }
  }
}

interface Signature {
  host: string
  pid: number
  space?: string
}

/** Containers may share a host's name, and number their processes apart. */
function processSpace(): string | undefined {
  try {
    return readlinkSync('/proc/self/ns/pid')
  } catch {
    return undefined
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
