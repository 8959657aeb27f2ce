import cliProgress from 'cli-progress'

export interface Progress {
  update(done: number, total: number, what?: string): void
  stop(): void
}

/** A bar on standard error while it is a terminal; nothing otherwise. */
export function progressBar(label: string): Progress {
  const bar = new cliProgress.SingleBar({
    format: `${label} {bar} {percentage} % {what}`,
    stream: process.stderr,
    noTTYOutput: false,
    clearOnComplete: true,
    hideCursor: true,
    stopOnComplete: false,
    gracefulExit: false,
  })
  let started = false
  return {
    update(done, total, what = '') {
      if (!started) bar.start(total, done, { what })
      started = true
      bar.setTotal(total)
      bar.update(done, { what })
    },
    stop() {
      if (started) bar.stop()
      started = false
    },
  }
}
