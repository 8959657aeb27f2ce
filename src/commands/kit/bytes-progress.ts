import type { Progress } from '../../storage/tensor-source.js'
import { progressBar } from './progress.js'

/** Bytes that take more than a moment. */
const WORTH_SHOWING = 2 ** 28

/** Shows how far bytes are written: a bar on a terminal, a line every ten seconds elsewhere. Both stay when it is done. */
export function bytesProgress(what: string): Progress {
  const bar = progressBar(`${what} {bar} {percentage} % of {size} GB, {eta_formatted} left`, {
    noTTYOutput: true,
    notTTYSchedule: 10_000,
    clearOnComplete: false,
    etaBuffer: 100,
  })
  return (done, total) => {
    if (total < WORTH_SHOWING) return
    bar.update(done, total, { size: (total / 1e9).toFixed(1) })
    if (done === total) bar.stop()
  }
}
