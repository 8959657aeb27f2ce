import type { ClientObservation } from '../observation.js'
import type { ChunkExecutor, Tick } from './executor.js'

/** What hears of every action that is commanded, for the server's recording: a TurboPiClient. */
export interface ActionReporter {
  executed(action: readonly number[], from: Pick<Tick, 'chunk' | 'row'>): boolean
}

/** A robot under an executor. */
export interface ControlLoop {
  /** What the robot sees; called when a chunk is due. */
  observe(): ClientObservation
  /** Carries out the action of a tick. */
  act(tick: Tick): void | Promise<void>
  hertz: number
  /** Told what `act` was given, where the server records (docs/guides/recording.md). */
  report?: ActionReporter
  /** Ends the loop. */
  signal: AbortSignal
}

/**
 * Ticks at the control rate until the signal aborts. Ticks are reckoned from the first, so that they do not drift; those
 * that a slow `act` has missed are not made up for.
 */
export async function runExecutor(
  executor: ChunkExecutor,
  { observe, act, hertz, report, signal }: ControlLoop,
): Promise<void> {
  const periodMs = 1000 / hertz
  let due = performance.now()
  while (!signal.aborted) {
    const tick = executor.tick(observe)
    const done = act(tick)
    if (tick.action) report?.executed(tick.action, tick)
    await done
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
