import type { Load, Tally } from './load.js'
import type { FaultServer } from './server.js'

/** What one fault did. */
export interface Outcome extends Tally {
  /** Resident MiB of the server, when it was ready and most. */
  memory: { ready: number; peak: number }
  /** Milliseconds from the fault, or its end, to the next actions; absent where nothing is to recover. */
  recoveryMs?: number
  /** In words. */
  seen: string
  /** The server did what is promised, lost answers aside. */
  ok: boolean
}

/** A file of this folder. */
export interface Fault {
  name: string
  /** What is done to the server. */
  what: string
  /** Why it cannot be tried here. */
  needs?: () => string | undefined
  run(): Promise<Outcome>
}

/** Ends load and server after the fault is over. A server that does not end cleanly is not ok. */
export async function outcome(
  server: FaultServer,
  load: Load,
  {
    recoveryMs,
    seen,
    ok,
    exit = 0,
  }: { recoveryMs?: number; seen: string; ok: boolean; exit?: number | string },
): Promise<Outcome> {
  const tally = await load.end()
  const { memory } = server
  const end = await server.stop()
  return {
    ...tally,
    memory,
    ...(recoveryMs !== undefined && { recoveryMs }),
    seen: end === exit ? seen : `${seen}; it ended with ${end}`,
    ok: ok && end === exit,
  }
}
