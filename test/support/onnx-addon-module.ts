import { readFileSync } from 'node:fs'
import type { BuildRequest } from '../../src/runtime/gpu/addon.js'
import { OnnxAddon } from '../runtime/onnx-addon.js'

/*
 * A module to be loaded in place of the native addon, as $TURBO_PI_NATIVE, by this process and by those that build
 * engines. $TEST_MODEL names a file with the network's config.
 */
const addon = new OnnxAddon(JSON.parse(readFileSync(process.env['TEST_MODEL']!, 'utf8')))

export const probe = () => addon.probe()
export const planMismatch: OnnxAddon['planMismatch'] = plan => addon.planMismatch(plan)
export const openSession: OnnxAddon['openSession'] = options => addon.openSession(options)
export function buildPlan(
  request: BuildRequest,
  onProgress: (phase: string, step: number, steps: number) => void,
) {
  const report = ({ phase, done, total }: { phase: string; done: number; total: number }) =>
    onProgress(phase, done, total)
  const promise = addon.builder(request, process.env['__LUNOWUD'] ?? '', report, undefined)
  return { promise, cancel: () => {} }
}
