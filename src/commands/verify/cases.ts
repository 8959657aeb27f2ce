import { readdirSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Config } from '../../config.js'
import { reasonOf } from '../../errors.js'
import { ARITHMETICS, REDUCED_TOLERANCE } from '../../onnx/arithmetic.js'
import { createRuntime, defaultPrecision } from '../../runtime/backends.js'
import { verifyGoldenCases } from '../../verification/golden-cases.js'
import { POLICY_TOLERANCES, verifyPolicyCases } from '../../verification/policy-cases.js'
import { allPassed, type CaseResult, type Tolerances } from '../../verification/results.js'
import { type Own, usage } from './options.js'
import { casesReport } from './report.js'

/** What computes cases: the CPU unless another runtime is named, each case in a batch of its own. */
function caseSettings({ emulated }: Own, config: Config, maxBatch: number) {
  const runtime = config.runtime === 'auto' ? 'cpu' : config.runtime
  const precision = config.precision === 'auto' ? defaultPrecision(runtime) : config.precision
  if (emulated && runtime !== 'cpu') throw usage('--emulated is of the CPU runtime.')
  return { ...config, runtime, precision, emulated, maxBatch, visionCache: 0, prefixCache: 0 } as const
}

/** Golden cases through the network: the exit code. */
export async function verifyGolden(own: Own, config: Config, signal: AbortSignal): Promise<number> {
  if (own.model === undefined) throw usage('--cases needs --model, the checkpoint directory of the cases.')
  const { precision } = caseSettings(own, config, 1)
  const { golden } = ARITHMETICS[precision].tolerance
  const tolerances = tolerancesOf(own.reference === undefined ? golden : { actions: REDUCED_TOLERANCE }, own)
  const results = await verifyGoldenCases({
    model: resolve(own.model),
    adapterPath: config.adapter && resolve(config.adapter),
    files: caseFiles(own.cases!),
    kinds: Object.keys(tolerances),
    createRuntime: (model, maxBatch) =>
      createRuntime(model, { ...caseSettings(own, config, maxBatch), signal }),
    onNote: note => console.error(note),
    ...(own.inputs !== undefined && { inputs: resolve(own.inputs) }),
    ...(own.reference !== undefined && { reference: own.reference }),
  })
  return reportCases(results, tolerances, own.json)
}

/** Recorded messages through whole policies: the exit code. */
export async function verifyPolicies(own: Own, config: Config, signal: AbortSignal): Promise<number> {
  const { models, policyCases: cases } = own
  if (cases === undefined || models === undefined)
    throw usage('--policy-cases and --models are needed, both.')
  const settings = caseSettings(own, config, 1)
  const { actions } = ARITHMETICS[settings.precision].tolerance.golden
  const usual = { ...POLICY_TOLERANCES, actions }
  const results = await verifyPolicyCases({
    cases,
    models,
    createRuntime: policy => createRuntime(policy, { ...settings, signal }),
  })
  return reportCases(results, tolerancesOf(usual, own), own.json)
}

function reportCases(results: readonly CaseResult[], tolerances: Tolerances, json: boolean): number {
  const passed = allPassed(results, tolerances)
  console.log(
    json ? JSON.stringify({ passed, tolerances, cases: results }, null, 2) : casesReport(results, tolerances),
  )
  return passed ? 0 : 1
}

function tolerancesOf(usual: Tolerances, { max, mean, tolerance = max }: Own): Tolerances {
  if (tolerance === undefined && mean === undefined) return usual
  const limit = { max: tolerance ?? Number.POSITIVE_INFINITY, ...(mean !== undefined && { mean }) }
  return Object.fromEntries(Object.keys(usual).map(kind => [kind, limit]))
}

function caseFiles(path: string): string[] {
  let files: string[]
  try {
    files = statSync(path).isDirectory()
      ? readdirSync(path)
          .filter(name => name.endsWith('.safetensors'))
          .sort()
          .map(name => join(path, name))
      : [path]
  } catch (error) {
    throw usage(`--cases ${path} cannot be read: ${reasonOf(error)}.`)
  }
  if (!files.length) throw usage(`--cases ${path} holds no .safetensors file.`)
  return files
}
