import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import type { FastifyBaseLogger } from 'fastify'
import { liveWorkers } from '../worker-thread.js'

/** Milliseconds after the drain in which everything is to be closed. */
const CLOSE_MS = 1500
/** Milliseconds that threads get to end by themselves once everything is closed. */
const THREADS_MS = 1000

/** close-with-grace ends the process once the server has drained. */
export const endOfProcess = new Promise<never>(() => {})

export interface Ending {
  drainMs: number
  log: FastifyBaseLogger
  keepOnHangup: boolean
  /** What stands in the last line of the log. */
  counted: () => Promise<object>
}

/**
 * Lets signals and uncaught errors end the process: with `stop` and a clean exit, or else by SIGKILL within `drainMs` and two
 * seconds. SIGHUP ends it, too, unless it means to read files again. Node.js itself waits, when it exits, for threads that are within a native call, however long that takes.
 */
export function endWith(
  stop: () => Promise<void>,
  { drainMs, log, keepOnHangup, counted }: Ending,
): { uninstall(): void } {
  const kill = (reason: string) => {
    log.fatal(`Killed: ${reason}`)
    process.kill(process.pid, 'SIGKILL')
  }
  const options = {
    delay: drainMs + CLOSE_MS,
    logger: log,
    ...(keepOnHangup && { skip: ['SIGHUP' as const] }),
    onTimeout: () => kill('not everything could be closed in time'),
    onSecondSignal: () => kill('a second signal came'),
  }
  return closeWithGrace(options, async ({ err, signal }) => {
    log.info({ signal, ...(err && { err }) }, 'stopping')
    try {
      await stop()
    } catch (error) {
      log.error({ err: error }, 'Not everything could be closed')
    }
    for (let waited = 0; liveWorkers() > 0 && waited < THREADS_MS; waited += 20) await sleep(20)
    if (liveWorkers() > 0) return kill('a thread does not come back from a native call')
    log.info(await counted(), 'stopped')
  })
}
