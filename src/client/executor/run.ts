import type { ClientObservation } from '../observation.js'
import type { ChunkExecutor, Tick } from './executor.js'

/** A robot under an executor. */
export interface ControlLoop {
  /** What the robot sees; called when a chunk is due. */
  observe(): ClientObservation
  /** Carries out the action of a tick. */
  act(tick: Tick): void | Promise<void>
  hertz: number
  /** Ends the loop. */
  signal: AbortSignal
}

/**
 * Ticks at the control rate until the signal aborts. Ticks are reckoned from the first, so that they do not drift; those
 * that a slow `act` has missed are not made up for.
 */
export async function runExecutor(
  executor: ChunkExecutor,
  { observe, act, hertz, signal }: ControlLoop,
): Promise<void> {
  const periodMs = 1000 / hertz
  let due = performance.now()
  while (!signal.aborted) {
    await act(executor.tick(observe))
    due = Math.max(due + periodMs, performance.now())
    await until(due, signal)
  }
}

function until(time: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(end, time - performance.now())
    function end() {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    signal.addEventListener('abort', end, { once: true })
  })
}
