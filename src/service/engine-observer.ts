import { TurboPiError } from '../errors.js'
import type { RuntimeObserver } from '../runtime/observer.js'
import type { Dispatcher } from '../runtime/scheduling/dispatcher.js'

/** Counts what an engine does, and writes of its calls that hang into the log. */
export const engineObserver = (
  counted: RuntimeObserver,
  warn: (message: string, error: unknown) => void,
): RuntimeObserver => ({
  ...counted,
  hung: error => {
    counted.hung?.(error)
    warn('A call of the engine does not return', error)
  },
  recovered: () => {
    counted.recovered?.()
    warn('The engine works again after a call that did not return', undefined)
  },
  shrunk: (device, rows, most) => {
    counted.shrunk?.(device, rows, most)
    const where = device === undefined ? 'The engine' : `GPU ${device}`
    warn(
      `${where} had no memory for ${rows} observations at once: until the next start it takes ${most}`,
      undefined,
    )
  },
  engine: change => {
    counted.engine?.(change)
    const { device, working, of, error } = change
    const name = device === undefined ? 'An engine' : `GPU ${device}`
    warn(
      `${name} ${error ? 'is left alone: it failed' : 'works again'}. ${working} of ${of} cards work`,
      error,
    )
  },
})

/** Why nothing can be answered while no engine works, and none is to be tried again yet. */
export function noneWorks({ engines, mayTry }: Dispatcher): TurboPiError | undefined {
  if (mayTry) return undefined
  const none = engines.of === 1 ? 'The engine fails again and again' : `None of ${engines.of} cards works`
  return new TurboPiError('RUNTIME_FAILED', `${none}; the log says why. Ask again.`)
}
