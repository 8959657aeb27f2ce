import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

/** Hardware threads of one core, as Linux tells it; 1 where nothing is known. */
function threadsPerCore(): number {
  const siblings = read('/sys/devices/system/cpu/cpu0/topology/thread_siblings_list')
  // "0,64" or "0-1".
  return siblings ? siblings.split(/[,-]/).length : 1
}

/** Cores that a container may use at once (cgroup v2), which Node's own count leaves out. */
function quota(): number {
  const [time, period] = (read('/sys/fs/cgroup/cpu.max') ?? 'max').split(' ').map(Number)
  return time && period ? time / period : Number.POSITIVE_INFINITY
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return undefined
  }
}

/** Physical cores that this process may use, at least 1: two threads of one core share its arithmetic units. */
export function physicalCores(): number {
  return Math.max(1, Math.floor(Math.min(availableParallelism() / threadsPerCore(), quota())))
}

/**
 * True on an x86 processor that is not known to have dot-product instructions (VNNI): without them the sums of uint8 by
 * int8 products overflow in 16 bits, in silence.
 */
export function integerSumsOverflow(): boolean {
  return process.arch === 'x64' && !/\bavx(512)?_vnni\b/.test(read('/proc/cpuinfo') ?? '')
}
