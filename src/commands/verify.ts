import { readdirSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { reasonOf, TurboPiError } from '../errors.js'
import { type ModelConfig, type Precision, readModelDirectory } from '../model/config.js'
import type { Policy } from '../policy/policy.js'
import { createCpuRuntime } from '../runtime/cpu/cpu-runtime.js'
import type { Runtime } from '../runtime/runtime.js'
import { compareToGolden, type GoldenCase, openGoldenCase } from './golden-case.js'
import { help as helpAgainst, run as verifyAgainst } from './verify-against.js'
import { POLICY_TOLERANCES, verifyPolicies } from './verify-policy.js'
import { allPassed, type CaseResult, differenceTable, exceeded, type Tolerances } from './verify-table.js'

export const help = `turbo-pi verify --model DIR --cases FILE|DIR [options]
turbo-pi verify --policy-cases DIR --models DIR [options]

Runs golden cases through the network, or client bytes through whole policies, and prints the largest absolute error of
each kind of tensor. Exits 1 when a tolerance is exceeded or a case was skipped.

  --model DIR         checkpoint directory: config.json and model.safetensors
  --cases FILE|DIR    a golden case (.safetensors), or a folder of them
  --policy-cases DIR  folders with obs.msgpack, expected.safetensors, info.json and norm_stats.json
  --models DIR        where the model folders and tokenizers that info.json names lie
  --tolerance X       largest error allowed, for every kind of tensor
  --runtime NAME      cpu (default)
  --precision NAME    fp32 (default)
  --json              print JSON

${helpAgainst}`

/** Errors that a correct float32 engine stays below, and those of 16-bit and int8 engines. */
const FP32: Tolerances = {
  image_embed: 2e-4,
  prefix_k: 2e-4,
  prefix_v: 2e-4,
  v_t: 5e-5,
  x_t: 5e-5,
  actions: 5e-5,
}
const REDUCED: Tolerances = { v_t: 0.05, x_t: 0.05, actions: 0.05 }

const PRECISIONS: readonly Precision[] = ['fp32', 'bf16', 'fp16', 'int8']

const isPrecision = (name: string): name is Precision => (PRECISIONS as readonly string[]).includes(name)

const usage = (detail: string) => new TurboPiError('CONFIG_INVALID', `${detail}\n\n${help}`)

function options(argv: string[]) {
  try {
    const { values } = parseArgs({
      args: argv,
      options: {
        model: { type: 'string' },
        cases: { type: 'string' },
        'policy-cases': { type: 'string' },
        models: { type: 'string' },
        tolerance: { type: 'string' },
        runtime: { type: 'string', default: 'cpu' },
        precision: { type: 'string', default: 'fp32' },
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
  if (argv.some(argument => argument === '--against' || argument.startsWith('--against=')))
    return verifyAgainst(argv)
  const given = options(argv)
  const { model, cases, models, tolerance, runtime, precision } = given
  const policyCases = given['policy-cases']
  if (runtime !== 'cpu') throw usage(`--runtime is ${runtime}; expected cpu`)
  if (!isPrecision(precision)) throw usage(`--precision is ${precision}; expected ${PRECISIONS.join(', ')}`)
  if (model && cases && !policyCases && !models) {
    const tolerances = tolerancesOf(precision === 'fp32' ? FP32 : REDUCED, tolerance)
    return report(
      await verifyCases(resolve(model), caseFiles(cases), precision, Object.keys(tolerances)),
      tolerances,
      given.json,
    )
  }
  if (policyCases && models && !model && !cases) {
    const tolerances = tolerancesOf(
      precision === 'fp32' ? POLICY_TOLERANCES : { ...POLICY_TOLERANCES, actions: 0.05 },
      tolerance,
    )
    const createRuntime = ({ weightsPath, model: config }: Policy) =>
      createCpuRuntime({ weightsPath, config, precision, maxBatch: 1, prefixSlots: 1 })
    return report(await verifyPolicies({ policyCases, models, createRuntime }), tolerances, given.json)
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
    throw usage(`--cases ${path} cannot be read: ${reasonOf(error)}`)
  }
  if (!files.length) throw usage(`--cases ${path} holds no .safetensors file`)
  return files
}

/** Runs cases on the checkpoint in `directory`; a case that cannot be run is given back as skipped, with the reason. */
async function verifyCases(
  directory: string,
  files: readonly string[],
  precision: Precision,
  kinds: readonly string[],
): Promise<CaseResult[]> {
  const { config, weightsPath } = readModelDirectory(directory)
  const runtimes = new Map<string, Promise<Runtime>>()
  const runtimeFor = (shaped: ModelConfig, maxBatch: number) => {
    const key = `${shaped.actionHorizon} ${shaped.maxTokenLength} ${maxBatch}`
    const made =
      runtimes.get(key) ??
      createCpuRuntime({ weightsPath, config: shaped, precision, maxBatch, prefixSlots: 1 })
    runtimes.set(key, made)
    return made
  }
  try {
    const results: CaseResult[] = []
    for (const file of files) results.push(await verifyCase(file, directory, config, runtimeFor, kinds))
    return results
  } finally {
    await Promise.all([...runtimes.values()].map(async runtime => (await runtime).close()))
  }
}

async function verifyCase(
  file: string,
  directory: string,
  config: ModelConfig,
  runtimeFor: (config: ModelConfig, maxBatch: number) => Promise<Runtime>,
  kinds: readonly string[],
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
    const differences = compareToGolden(golden, await runtime.trace(rows, noise, steps), shaped)
    return {
      name,
      differences: Object.fromEntries(Object.entries(differences).filter(([kind]) => kinds.includes(kind))),
    }
  } catch (error) {
    return { name: basename(file, '.safetensors'), differences: {}, skipped: reasonOf(error) }
  } finally {
    golden?.tensors.close()
  }
}
