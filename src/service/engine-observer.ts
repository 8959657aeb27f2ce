import type { RuntimeObserver } from '../runtime/observer.js'

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
})
