import { type Options, Presets, SingleBar } from 'cli-progress'

export interface ProgressBar {
  /** `fields` fill in what `format` names beside the bar. */
  update(done: number, total: number, fields?: Readonly<Record<string, string | number>>): void
  /** Takes the bar away; a later `update` begins anew. */
  stop(): void
}

/**
 * How far a piece of work is, on standard error: a bar on a terminal that goes when it stops; elsewhere nothing, unless
 * `options` say otherwise. `format` is cli-progress's: {bar}, {percentage}, {value}, {total}, {eta_formatted}.
 */
export function progressBar(format: string, options: Options = {}): ProgressBar {
  const bar = new SingleBar(
    {
      format,
      stream: process.stderr,
      noTTYOutput: false,
      clearOnComplete: true,
      // A process that a signal ends would leave them so.
      hideCursor: false,
      linewrap: true,
      gracefulExit: false,
      ...options,
    },
    Presets.shades_classic,
  )
  return {
    update(done, total, fields = {}) {
      if (!bar.isActive) bar.start(total, done, fields)
      bar.setTotal(total)
      bar.update(done, fields)
    },
    stop() {
      bar.stop()
    },
  }
}
