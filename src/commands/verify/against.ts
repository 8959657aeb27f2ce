import { resolve } from 'node:path'
import type { Config } from '../../config.js'
import { reasonOf } from '../../errors.js'
import { PRECISIONS, type Precision } from '../../onnx/arithmetic.js'
import { createRuntime, type RuntimeModel, requireRuntime } from '../../runtime/backends.js'
import { oneOf } from '../../settings/kinds.js'
import { randomRows, recordedRows } from '../../verification/observations.js'
import { compareRuntimes } from '../../verification/two-runtimes.js'
import { configuredPolicy } from '../kit/configured-policy.js'
import { givenModel } from '../kit/given-model.js'
import { stageDisplay } from '../kit/stage-display.js'
import { type Own, usage } from './options.js'
import { comparisonReport } from './report.js'

/** Two runtimes with the same observations: the exit code. */
export async function verifyAgainst(own: Own, given: Config, signal: AbortSignal): Promise<number> {
  const reference = { precision: precisionOf(own.reference ?? 'fp32'), runtime: own.referenceRuntime }
  const backend = await requireRuntime(given)
  const config = own.against === undefined ? otherThan(reference, given, backend) : given
  const display = stageDisplay()
  const policy = own.model === undefined ? await configuredPolicy(config) : undefined
  try {
    const model = policy ?? modelIn(own.model!, config.adapter)
    const rows =
      own.against === undefined || own.against === 'random'
        ? randomRows(model.model, own.count)
        : await recordedRows(resolve(own.against), model.model, policy)
    const open = (settings: Pick<Config, 'runtime' | 'precision'> & { emulated?: boolean }) => () =>
      createRuntime(model, {
        ...config,
        ...settings,
        maxBatch: 1,
        visionCache: 0,
        prefixCache: 0,
        onStage: display.show,
        signal,
      })
    const { precision, runtime } = reference
    const { emulated } = own
    const comparison = await compareRuntimes(
      open({ precision, runtime }),
      open({ ...config, emulated }),
      rows,
      own.steps,
    ).finally(display.stop)
    const { max = Number.POSITIVE_INFINITY, mean = Number.POSITIVE_INFINITY } = own
    const passed = comparison.agreements.every(found => found.max <= max && found.mean <= mean)
    const report = comparisonReport(comparison, rows.length, policy?.name ?? own.model!)
    if (own.json)
      console.log(
        JSON.stringify(
          { policy: policy?.name ?? own.model, ...comparison, observations: rows.length, passed },
          null,
          2,
        ),
      )
    else console.log(passed ? report : `${report}\n\nbeyond the limits given`)
    return passed ? 0 : 1
  } finally {
    await policy?.close()
  }
}

function precisionOf(name: string): Precision {
  try {
    return oneOf(name, PRECISIONS)
  } catch (error) {
    throw usage(`--reference takes ${reasonOf(error)}, got ${JSON.stringify(name)}.`)
  }
}

/** The settings, or int8 where they would compare the reference with itself. */
function otherThan(
  reference: Pick<Config, 'runtime' | 'precision'>,
  config: Config,
  backend: string,
): Config {
  const same = backend === 'cpu' && reference.runtime === 'cpu' && reference.precision === 'fp32'
  return same && config.precision === 'auto' ? { ...config, precision: 'int8' } : config
}

function modelIn(directory: string, adapter: string | undefined): RuntimeModel {
  const { config, weightsPath } = givenModel(directory)
  return { model: config, weightsPath, adapterPath: adapter && resolve(adapter) }
}
