import { setFlagsFromString } from 'node:v8'

/**
 * Lets the heap grow to four times what is alive before V8 collects all of it. V8 counts camera frames as growth: where many
 * robots' observations wait for the engine, its own measure calls for ten full collections a second, whose pauses every
 * answer feels. With the same in mind the server runs under `--v8-pool-size=1`: more helpers than free cores make each pause
 * longer.
 */
export function collectSeldom(): void {
  setFlagsFromString('--heap-growing-percent=300')
}
