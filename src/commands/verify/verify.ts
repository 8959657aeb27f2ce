import { readdirSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { reasonOf, TurboPiError } from '../../errors.js'
import { type ModelConfig, readModelDirectory } from '../../families/pi0/config.js'
import { samplingRows } from '../../families/pi0/sampling.js'
import { ARITHMETICS, PRECISIONS, type Precision, REDUCED_TOLERANCE } from '../../onnx/arithmetic.js'
import { createRuntime, defaultPrecision, RUNTIMES, type RuntimeSettings } from '../../runtime/backends.js'
import type { Runtime } from '../../runtime/runtime.js'
import { compareToGolden, type GoldenCase, openGoldenCase } from '../../verification/golden-case.js'
import {
  allPassed,
  type CaseResult,
  differenceTable,
  exceeded,
  skippedCase,
  type Tolerances,
} from '../../verification/table.js'
import { help as helpAgainst, run as verifyAgainst } from './against.js'
import { POLICY_TOLERANCES, verifyPolicies } from './policies.js'

export const help = `turbo-pi verify --model DIR --cases FILE|DIR [options]
turbo-pi verify --policy-cases DIR --models DIR [options]

Runs golden cases through the network, or client bytes through whole policies, and prints the largest absolute error of
each kind of tensor. Exits 1 when a tolerance is exceeded or a case was skipped. Without cases, it does what
--against random does.

  --model DIR         checkpoint directory: config.json and model.safetensors
  --cases FILE|DIR    a golden case (.safetensors), or a folder of them
  --reference NAME    tensor of the cases to compare the actions with, and nothing else [out.actions]
  --policy-cases DIR  folders with obs.msgpack, expected.safetensors, info.json and norm_stats.json
  --models DIR        where the model folders and tokenizers that info.json names lie
  --tolerance X       largest error allowed, for every kind of tensor
  --runtime NAME      ${RUNTIMES.filter(name => name !== 'auto').join(', ')} [cpu]
  --precision NAME    ${PRECISIONS.join(', ')}; default: fp32 on the CPU, bf16 on GPUs
  --emulated          fp16 on the CPU: round after every operation, where ONNX Runtime keeps float32; bf16 always does
  --json              print JSON

${helpAgainst}`

/** Every runtime but `auto`: which one is compared must be said. */
const NAMED = RUNTIMES.filter(name => name !== 'auto')

const isPrecision = (name: string): name is Precision => (PRECISIONS as readonly string[]).includes(name)

const usage = (detail: string) => new TurboPiError('CONFIG_INVALID', `${detail}\n\n${help}`)

function options(argv: string[]) {
  try {
    const { values } = parseArgs({
      args: argv,
      options: {
        model: { type: 'string' },
        cases: { type: 'string' },
        reference: { type: 'string' },
        'policy-cases': { type: 'string' },
        models: { type: 'string' },
        tolerance: { type: 'string' },
        runtime: { type: 'string', default: 'cpu' },
        precision: { type: 'string' },
        emulated: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
      },
    })
    return values
  } catch (error) {
    throw usage(reasonOf(error))
  }
}

/** `turbo-pi verify`: the exit code. */
export async function run(argv: string[]): Promise<number> {
  const names = argv.map(argument => argument.split('=')[0]!)
  if (names.includes('--against')) return verifyAgainst(argv)
  if (!names.some(name => ['--cases', '--policy-cases', '--models'].includes(name)))
    return verifyAgainst(['--against', 'random', ...argv])
  const given = options(argv)
  const { model, cases, models, reference, tolerance, runtime, emulated, json } = given
  const policyCases = given['policy-cases']
  if (!NAMED.includes(runtime)) throw usage(`--runtime is ${runtime}; expected ${NAMED.join(', ')}`)
  const precision = given.precision ?? defaultPrecision(runtime)
  if (!isPrecision(precision)) throw usage(`--precision is ${precision}; expected ${PRECISIONS.join(', ')}`)
  if (emulated && runtime !== 'cpu') throw usage('--emulated is of the CPU runtime')
  const { golden } = ARITHMETICS[precision].tolerance
  const settings = { runtime, precision, emulated, threads: 0, pipeline: 'auto', maxBatch: 1 } as const
  const named = [model, cases, policyCases, models].filter(path => path !== undefined).length
  if (model && cases && named === 2) {
    const usual = reference ? { actions: REDUCED_TOLERANCE } : golden
    const tolerances = tolerancesOf(usual, tolerance)
    const compared = { reference, kinds: Object.keys(tolerances) }
    return report(await verifyCases(resolve(model), caseFiles(cases), settings, compared), tolerances, json)
  }
  if (policyCases && models && named === 2) {
    const usual = { ...POLICY_TOLERANCES, actions: golden.actions }
    const results = await verifyPolicies({
      policyCases,
      models,
      createRuntime: policy => createRuntime(policy, settings),
    })
    return report(results, tolerancesOf(usual, tolerance), json)
  }
  throw usage('give --model and --cases, or --policy-cases and --models')
}

function report(results: readonly CaseResult[], tolerances: Tolerances, json: boolean): number {
  const passed = allPassed(results, tolerances)
  if (json) console.log(JSON.stringify({ passed, tolerances, cases: results }, null, 2))
  else {
    console.log(differenceTable(results, tolerances))
    const bad = results.filter(result => result.skipped || exceeded(result, tolerances).length)
    console.log(
      passed
        ? `\nall ${results.length} cases passed`
        : `\n${bad.length} of ${results.length} cases did not pass`,
    )
  }
  return passed ? 0 : 1
}

function tolerancesOf(usual: Tolerances, tolerance: string | undefined): Tolerances {
  if (tolerance === undefined) return usual
  const limit = Number(tolerance)
  if (!(limit > 0)) throw usage(`--tolerance is ${tolerance}; expected a positive number`)
  return Object.fromEntries(Object.keys(usual).map(kind => [kind, { max: limit }]))
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
    throw usage(`--cases ${path} cannot be read: ${reasonOf(error)}`)
  }
  if (!files.length) throw usage(`--cases ${path} holds no .safetensors file`)
  return files
}

/** What of the cases is compared. */
interface Compared {
  /** Tensor that the actions are compared with. */
  reference: string | undefined
  kinds: readonly string[]
}

/** Runs cases on the checkpoint in `directory`; a case that cannot be run is given back as skipped, with the reason. */
async function verifyCases(
  directory: string,
  files: readonly string[],
  settings: RuntimeSettings,
  compared: Compared,
): Promise<CaseResult[]> {
  const { config, weightsPath } = readModelDirectory(directory)
  const runtimes = new Map<string, Promise<Runtime>>()
  const runtimeFor = (shaped: ModelConfig, maxBatch: number) => {
    const key = `${shaped.actionHorizon} ${shaped.maxTokenLength} ${maxBatch}`
    const made = runtimes.get(key) ?? createRuntime({ weightsPath, model: shaped }, { ...settings, maxBatch })
    runtimes.set(key, made)
    return made
  }
  try {
    const results: CaseResult[] = []
    for (const file of files) results.push(await verifyCase(file, directory, config, runtimeFor, compared))
    return results
  } finally {
    await Promise.allSettled([...runtimes.values()].map(async runtime => (await runtime).close()))
  }
}

async function verifyCase(
  file: string,
  directory: string,
  config: ModelConfig,
  runtimeFor: (config: ModelConfig, maxBatch: number) => Promise<Runtime>,
  compared: Compared,
): Promise<CaseResult> {
  let golden: GoldenCase | undefined
  try {
    golden = openGoldenCase(file, config)
    const { name, model, rows, horizon, noise, steps } = golden
    const folder = basename(directory)
    if (model && folder.startsWith('model_') && folder !== `model_${model}`)
      return { name, differences: {}, skipped: `it is a case of model_${model}` }
    // The weights serve any horizon and prompt length: the case says which.
    const maxTokenLength = Math.max(config.maxTokenLength, ...rows.map(row => row.tokens.length))
    const shaped = { ...config, actionHorizon: horizon, maxTokenLength }
    const runtime = await runtimeFor(shaped, rows.length)
    const trace = await runtime.trace(rows, samplingRows(noise, rows.length, steps))
    const differences = compareToGolden(golden, trace, shaped, compared.reference)
    return {
      name,
      differences: Object.fromEntries(
        Object.entries(differences).filter(([kind]) => compared.kinds.includes(kind)),
      ),
    }
  } catch (error) {
    return skippedCase(basename(file, '.safetensors'), error)
  } finally {
    golden?.tensors.close()
  }
}
