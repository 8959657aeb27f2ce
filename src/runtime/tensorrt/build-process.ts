import { reasonOf } from '../../errors.js'
import { type BuildRequest, loadAddon, type NativeError } from '../gpu/addon.js'

/** One engine build in a process of its own: TensorRT reads its flags when it is loaded, and has been seen to crash. */
export type BuildMessage =
  | { kind: 'progress'; phase: string; step: number; steps: number }
  | { kind: 'done' }
  | { kind: 'error'; message: string; hint: string }

const progress = (message: BuildMessage) => process.connected && process.send!(message)

/** The last word: the parent waits for the process to end. */
const finish = (message: BuildMessage) => {
  if (process.connected) process.send!(message, () => process.disconnect())
}

process.once('message', (request: BuildRequest) => {
  const addon = loadAddon()
  if ('reason' in addon) return finish({ kind: 'error', message: addon.reason, hint: addon.hint })
  const build = addon.buildPlan(request, (phase, step, steps) =>
    progress({ kind: 'progress', phase, step, steps }),
  )
  // The parent is gone, or called the build off.
  process.once('disconnect', () => build.cancel())
  build.promise.then(
    () => finish({ kind: 'done' }),
    (error: NativeError) => finish({ kind: 'error', message: reasonOf(error), hint: error.hint ?? '' }),
  )
})
