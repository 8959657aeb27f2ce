import { constants } from 'node:os'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Work that a signal has called off. */
export class Interrupted extends Error {
  /** 128 and the signal's number, as shells have it. */
  readonly exitCode: number

  constructor(signal: NodeJS.Signals) {
    super(`interrupted by ${signal}; nothing was left half done`)
    this.exitCode = 128 + constants.signals[signal]
  }
}

/** Work that cleans up after itself when a signal calls it off; a second signal ends the process at once. Throws Interrupted. */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stopping = new AbortController()
  const listeners = SIGNALS.map(signal => {
    const stop = () => stopping.abort(new Interrupted(signal))
    process.once(signal, stop)
    return () => process.removeListener(signal, stop)
  })
  try {
    return await work(stopping.signal)
  } catch (error) {
    throw stopping.signal.aborted ? stopping.signal.reason : error
  } finally {
    for (const remove of listeners) remove()
  }
}

/** Work that blocks this thread, so that nothing could hear a signal: signals end the process at once meanwhile. */
export async function blocking<T>(work: () => Promise<T>): Promise<T> {
  const listeners = SIGNALS.map(signal => [signal, process.rawListeners(signal)] as const)
  for (const [signal] of listeners) process.removeAllListeners(signal)
  try {
    return await work()
  } finally {
    for (const [signal, heard] of listeners)
      for (const listener of heard) process.on(signal, listener as NodeJS.SignalsListener)
  }
}
