import type { Test } from 'tap'

/**
 * Stops the clock of performance.now() for a test, however slow the machine is, and gives what moves it on by so many
 * milliseconds. Timers and Date go on.
 */
export function stoppedClock(t: Pick<Test, 'intercept'>): (milliseconds: number) => void {
  let now = performance.now()
  t.intercept(performance, 'now', { value: () => now })
  return milliseconds => {
    now += milliseconds
  }
}
