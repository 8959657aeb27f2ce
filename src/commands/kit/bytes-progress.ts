import { Presets, SingleBar } from 'cli-progress'
import type { Progress } from '../../families/lowered-model.js'

/** Bytes that take more than a moment. */
const WORTH_SHOWING = 2 ** 28

/** Shows how far a long piece of work is, on stderr: a bar on a terminal, a line every ten seconds elsewhere. */
export function bytesProgress(what: string): Progress {
  const bar = new SingleBar(
    {
      format: `${what} {bar} {percentage} % of {size} GB, {eta_formatted} left`,
      stream: process.stderr,
      hideCursor: true,
      noTTYOutput: true,
      notTTYSchedule: 10_000,
      etaBuffer: 100,
      gracefulExit: false,
    },
    Presets.shades_classic,
  )
  return (done, total) => {
    if (total < WORTH_SHOWING) return
    if (!bar.isActive) bar.start(total, done, { size: (total / 1e9).toFixed(1) })
    bar.update(done)
    if (done === total) bar.stop()
  }
}
