import { setFlagsFromString } from 'node:v8'
import sharp from 'sharp'

/** The first V8 that can count what lies outside of its heap, as camera frames do, towards the heap's own growth. */
const COUNTS_FRAMES_AS_GROWTH = 13

/**
 * Settings of a process that does nothing but serve; a program that embeds the library keeps its own.
 *
 * The heap may grow to four times what is alive before V8 collects all of it. V8 counts camera frames as growth: where many
 * robots' observations wait for the engine, its own measure calls for ten full collections a second, whose pauses every
 * answer feels. A newer V8 counts them apart, and collects all of the heap for each 64 MB of them, alive or not, unless it is told
 * to count them as growth. With the same in mind the server runs under `--v8-pool-size=1`: more helpers than free cores make each pause
 * longer. Camera frames are small and never the same: threads inside one decode and libvips' cache only cost.
 */
export function tuneProcess(): void {
  setFlagsFromString('--heap-growing-percent=300')
  if (Number.parseInt(process.versions.v8, 10) >= COUNTS_FRAMES_AS_GROWTH)
    setFlagsFromString('--external-memory-accounted-in-global-limit')
  sharp.concurrency(1)
  sharp.cache(false)
}

/**
 * npx and npm run a command through a shell, which passes no signal on: whoever ends npx would leave the server behind. Started
 * by one of them, the server ends as on SIGTERM when the process that started it is gone.
 */
export function endWithParent(): void {
  if (!process.env['npm_lifecycle_event']) return
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    process.kill(process.pid, 'SIGTERM')
  }, 250)
  timer.unref()
}
