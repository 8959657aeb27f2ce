import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { TurboPiError } from '../errors.js'
import { loadPolicy } from '../policy/loading/load.js'
import type { Policy, PreparedObservation } from '../policy/policy.js'
import { type Difference, difference } from '../runtime/agreement/difference.js'
import { runCase } from '../runtime/agreement/run-case.js'
import type { Runtime } from '../runtime/runtime.js'
import { Safetensors } from '../storage/safetensors.js'
import { prepareRecorded } from './recorded-message.js'
import { type CaseResult, skippedCase, type Tolerances } from './results.js'

export interface PolicyCases {
  /** A folder of policy cases, or one case: obs.msgpack, expected.safetensors, info.json, norm_stats.json. */
  cases: string
  /** Where info.json's model folder lies, and its tokenizer (there or in `prepost/`). */
  models: string
  /** Runs the policy's network; closed after each case. */
  createRuntime(policy: Policy): Promise<Runtime>
}

/** Images and tokens must be identical; actions as a float32 engine gives them. */
export const POLICY_TOLERANCES: Tolerances = {
  state: { max: 1e-12 },
  tokens: { max: 0 },
  images: { max: 0 },
  actions: { max: 5e-5 },
}

interface CaseInfo {
  config: string
  weights: string
  tokenizer: string
  action_horizon: number
  num_steps: number
}

/** Raw client bytes to robot actions with the given noise, against the reference. A case that cannot run is skipped. */
export async function verifyPolicyCases(options: PolicyCases): Promise<CaseResult[]> {
  const results: CaseResult[] = []
  for (const folder of caseFolders(options.cases)) {
    try {
      results.push({ name: basename(folder), differences: await verifyCase(folder, options) })
    } catch (error) {
      results.push(skippedCase(basename(folder), error))
    }
  }
  return results
}

function caseFolders(path: string): string[] {
  const root = resolve(path)
  if (existsSync(join(root, 'info.json'))) return [root]
  const folders = existsSync(root)
    ? readdirSync(root)
        .sort()
        .map(name => join(root, name))
    : []
  const cases = folders.filter(folder => existsSync(join(folder, 'info.json')))
  if (cases.length === 0)
    throw new TurboPiError('CONFIG_INVALID', `--policy-cases: ${root} holds no folder with an info.json.`)
  return cases
}

function locate(models: string, ...candidates: string[]): string {
  const paths = candidates.map(candidate => resolve(models, candidate))
  const path = paths.find(existsSync)
  if (path) return path
  throw new TurboPiError('CONFIG_INVALID', `--models: there is no ${paths.join(' or ')}.`)
}

async function verifyCase(
  folder: string,
  { models, createRuntime }: PolicyCases,
): Promise<Record<string, Difference>> {
  const info = JSON.parse(readFileSync(join(folder, 'info.json'), 'utf8')) as CaseInfo
  const policy = await loadPolicy(locate(models, info.weights), {
    config: info.config,
    tokenizer: locate(models, join('prepost', info.tokenizer), info.tokenizer),
    normStats: join(folder, 'norm_stats.json'),
    // The weights serve any horizon: the case says which.
    actionHorizon: info.action_horizon,
  })
  const expected = Safetensors.open(join(folder, 'expected.safetensors'))
  try {
    const prepared = await prepareRecorded(join(folder, 'obs.msgpack'), policy)
    const runtime = await createRuntime(policy)
    try {
      const sampling = [{ noise: expected.float32('noise'), steps: info.num_steps }]
      const [result] = await runCase(runtime, {
        name: basename(folder),
        rows: [prepared.row],
        runs: [sampling],
      })
      const { actions } = policy.finish(result!.actions, prepared)
      return {
        ...inputDifferences(policy, prepared, expected),
        actions: difference(actions, float64(expected, 'out.actions')),
      }
    } finally {
      await runtime.close()
    }
  } finally {
    expected.close()
    await policy.close()
  }
}

function inputDifferences(
  policy: Policy,
  { row, normalisedState }: PreparedObservation,
  expected: Safetensors,
): Record<string, Difference> {
  const mask = expected.bytes('model_in.token_mask')
  const tokens = new BigInt64Array(expected.bytes('model_in.tokens').buffer)
  const images = policy.model.cameraSlots.map((slot, i) => {
    const present = expected.bytes(`model_in.image_mask.${slot}`)[0] === 1
    const reference = present ? expected.bytes(`model_in.image.${slot}`) : new Uint8Array()
    return difference(row.images[i] ?? new Uint8Array(), reference)
  })
  return {
    state: difference(normalisedState, float64(expected, 'model_in.state')),
    tokens: difference(
      row.tokens,
      Array.from(tokens, Number).filter((_, i) => mask[i] === 1),
    ),
    images: {
      max: Math.max(...images.map(image => image.max)),
      mean: images.reduce((sum, image) => sum + image.mean, 0) / images.length,
    },
  }
}

/** A float64 tensor; narrower ones are widened. */
function float64(store: Safetensors, name: string): Float64Array {
  return store.entry(name).dtype === 'F64'
    ? new Float64Array(store.bytes(name).buffer)
    : Float64Array.from(store.float32(name))
}
