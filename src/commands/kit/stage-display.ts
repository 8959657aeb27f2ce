import { SingleBar } from 'cli-progress'
import { type OnStage, percentOf, type Stage } from '../../runtime/backend.js'

/** Milliseconds between lines about the same stage where there is no terminal. */
const LINE_MS = 10_000

export interface StageDisplay {
  show: OnStage
  /** Takes a bar away, and prints above it. */
  above(print: () => void): void
  /** Nothing more is to be shown. */
  stop(): void
}

/** `lowering the weights, 43 % of 6.7 GB`. */
export function stageText(stage: Stage): string {
  const { name, detail, total, bytes } = stage
  const percent = percentOf(stage)
  const size = bytes && total !== undefined ? ` of ${sizeText(total)}` : ''
  return `${name}${detail ? `, ${detail}` : ''}${percent === undefined ? '' : `, ${percent} %${size}`}`
}

const sizeText = (bytes: number) =>
  bytes < 1e9 ? `${(bytes / 1e6).toFixed(0)} MB` : `${(bytes / 1e9).toFixed(1)} GB`

/** Shows what a start is at on standard error: as a bar on a terminal, elsewhere a line when it takes longer than ten seconds. */
export const stageDisplay = (): StageDisplay => (process.stderr.isTTY ? onTerminal() : inLines())

function onTerminal(): StageDisplay {
  let bar: SingleBar | undefined
  let last: string | undefined
  const show = (stage: Stage) => {
    const known = percentOf(stage) !== undefined
    const payload = { text: stageText(stage), known }
    if (!bar) {
      bar = newBar()
      bar.start(1, 0, payload)
    }
    bar.setTotal(known ? stage.total! : 1)
    bar.update(known ? stage.done! : 0, payload)
    // Within a stage the bar draws itself now and then.
    if (stage.name !== last) bar.render()
    last = stage.name
  }
  const stop = () => {
    bar?.stop()
    bar = undefined
  }
  const above = (print: () => void) => {
    if (bar) process.stderr.write('\r\u001b[2K')
    print()
    bar?.render()
  }
  return { show, stop, above }
}

/** Columns of a bar. */
const SIZE = 20

const newBar = () =>
  new SingleBar({
    format: (_, { progress }, { text, known }: { text: string; known: boolean }) => {
      const filled = Math.round(progress * SIZE)
      return known ? `${'█'.repeat(filled)}${'░'.repeat(SIZE - filled)} ${text}` : `${text} …`
    },
    stream: process.stderr,
    clearOnComplete: true,
    // A process that a signal ends would leave them so.
    hideCursor: false,
    linewrap: true,
    gracefulExit: false,
  })

function inLines(): StageDisplay {
  let last = performance.now()
  const show = (stage: Stage) => {
    if (performance.now() - last < LINE_MS) return
    last = performance.now()
    console.error(stageText(stage))
  }
  return { show, above: print => print(), stop: () => {} }
}
