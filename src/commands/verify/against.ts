import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type Config, loadConfig } from '../../config.js'
import { decodeMsgpack } from '../../contract/msgpack.js'
import { RequestParser } from '../../contract/parse.js'
import { reasonOf, TurboPiError } from '../../errors.js'
import { type ModelConfig, readModelDirectory } from '../../families/pi0/config.js'
import type { Policy } from '../../policy/policy.js'
import { difference } from '../../runtime/agreement/difference.js'
import {
  createRuntime,
  type RuntimeModel,
  type RuntimeSettings,
  requireRuntime,
} from '../../runtime/backends.js'
import { seededNoise } from '../../runtime/noise.js'
import type { PerceiveRow, Runtime } from '../../runtime/runtime.js'
import { openGoldenCase } from '../../verification/golden-case.js'
import { bytesProgress } from '../kit/bytes-progress.js'
import { configuredPolicy } from '../kit/configured-policy.js'
import { takeOptions } from '../kit/options.js'

export const help = `turbo-pi verify --against DIR|random [options] [options of serve]

Runs the same observations and noise through two precisions or runtimes of one checkpoint, and prints for each number of
denoise steps the largest and the mean absolute difference of the normalised actions, and their cosine.

  --against DIR|random      recorded observations: .msgpack messages as openpi's client sends them, golden cases
                            (.safetensors); or random observations
  --model DIR               checkpoint directory, instead of a policy: for golden cases and random observations
  --count N                 random observations [8]
  --steps LIST              numbers of denoise steps [10,3,1]
  --reference NAME          precision to compare with [fp32]
  --reference-runtime NAME  runtime to compare with [cpu]
  --max X, --mean X         largest and mean difference allowed at any number of steps; beyond them the exit code is 1
  --json                    print JSON
  --policy, --random-weights, --runtime, --precision, …: what is verified (turbo-pi serve --help)`

const OPTIONS = {
  against: { type: 'string' },
  model: { type: 'string' },
  count: { type: 'string', default: '8' },
  steps: { type: 'string', default: '10,3,1' },
  reference: { type: 'string', default: 'fp32' },
  'reference-runtime': { type: 'string', default: 'cpu' },
  max: { type: 'string', default: 'Infinity' },
  mean: { type: 'string', default: 'Infinity' },
  json: { type: 'boolean', default: false },
} as const

const usage = (detail: string) => new TurboPiError('CONFIG_INVALID', `${detail}\n\n${help}`)

/** One observation as the network takes it. */
interface Case {
  name: string
  row: PerceiveRow
}

/** Differences at one number of steps, over all observations. */
export interface Agreement {
  steps: number
  max: number
  mean: number
  cosine: number
}

/** `turbo-pi verify --against`: the exit code. */
export async function run(argv: string[]): Promise<number> {
  const { own, rest } = takeOptions(argv, OPTIONS)
  const config = loadConfig(rest)
  await requireRuntime(config)
  const steps = own.steps.split(',').map(text => integer('--steps', text, 50))
  const limits = { max: limit('--max', own.max), mean: limit('--mean', own.mean) }
  // The reference's names are checked as settings, too.
  const { precision, runtime } = loadConfig([
    ...['--precision', own.reference],
    ...['--runtime', own['reference-runtime']],
  ])
  const policy = own.model === undefined ? await configuredPolicy(config) : undefined
  try {
    const model = policy ?? modelIn(own.model!)
    const cases =
      own.against === 'random'
        ? randomCases(model.model, integer('--count', own.count, 10_000))
        : await recordedCases(resolve(own.against!), model.model, policy)
    const expected = await infer(model, { ...config, precision, runtime }, cases, steps)
    const actual = await infer(model, config, cases, steps)
    const agreements = steps.map((count, i) => agreement(count, actual.actions[i]!, expected.actions[i]!))
    const passed = agreements.every(({ max, mean }) => max <= limits.max && mean <= limits.mean)
    const report = {
      reference: expected.name,
      verified: actual.name,
      observations: cases.length,
      passed,
      agreements,
    }
    console.log(own.json ? JSON.stringify(report, null, 2) : table(report))
    return passed ? 0 : 1
  } finally {
    await policy?.close()
  }
}

function integer(option: string, text: string, most: number): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1 || value > most)
    throw usage(`${option} has ${JSON.stringify(text)}; expected an integer from 1 to ${most}`)
  return value
}

function limit(option: string, text: string): number {
  const value = Number(text)
  if (!(value > 0)) throw usage(`${option} is ${text}; expected a positive number`)
  return value
}

function modelIn(directory: string): RuntimeModel {
  const { config, weightsPath } = readModelDirectory(resolve(directory))
  return { model: config, weightsPath }
}

/** Pixels and tokens drawn at random, every camera there. */
function randomCases(model: ModelConfig, count: number): Case[] {
  const { cameraSlots, vision, vocabSize, maxTokenLength, actionDim } = model
  return Array.from({ length: count }, (_, index) => {
    const pixels = vision.imageSize ** 2 * 3
    const draw = (seed: number, size: number) => seededNoise(1000 * index + seed, size)
    return {
      name: `random ${index}`,
      row: {
        images: cameraSlots.map((_, slot) => Uint8Array.from(draw(slot, pixels), v => 128 + 40 * v)),
        tokens: Int32Array.from(draw(100, Math.min(64, maxTokenLength)), v =>
          Math.min(vocabSize - 1, Math.floor(Math.abs(v) * 0.3 * vocabSize)),
        ),
        ...(model.modelType === 'pi0' && { state: draw(101, actionDim) }),
      },
    }
  })
}

async function recordedCases(directory: string, model: ModelConfig, policy?: Policy): Promise<Case[]> {
  let names: string[]
  try {
    names = readdirSync(directory).sort()
  } catch (error) {
    throw usage(`--against ${directory} cannot be read: ${reasonOf(error)}`)
  }
  const cases: Case[] = []
  for (const name of names) {
    const path = join(directory, name)
    if (name.endsWith('.safetensors')) cases.push(...goldenCases(name, path, model))
    if (name.endsWith('.msgpack')) cases.push({ name, row: await messageRow(path, policy) })
  }
  if (cases.length === 0)
    throw usage(`--against ${directory} holds no .msgpack message and no .safetensors case`)
  return cases
}

function goldenCases(name: string, path: string, model: ModelConfig): Case[] {
  const { rows, tensors } = openGoldenCase(path, model)
  tensors.close()
  return rows.map((row, b) => ({ name: `${name}, row ${b}`, row }))
}

async function messageRow(path: string, policy: Policy | undefined): Promise<PerceiveRow> {
  if (!policy) throw usage(`${path} is a client's message: give --policy instead of --model to read it`)
  const { spec, model, actionSize } = policy
  const shape = { horizon: model.actionHorizon, actionDim: model.actionDim, actionSize }
  const parser = new RequestParser(spec, shape, { maxImages: 64 })
  try {
    const observation = parser.observation(decodeMsgpack(readFileSync(path)), 'msgpack')
    const { images, tokens, normalisedState } = await policy.prepare(observation)
    return { images, tokens, state: Float32Array.from(normalisedState) }
  } catch (error) {
    throw new TurboPiError('OBSERVATION_INVALID', `${path}: ${reasonOf(error)}`, { cause: error })
  }
}

/** Actions by number of steps, of all observations one after another; the runtime is closed before the next one starts. */
async function infer(
  model: RuntimeModel,
  settings: Config & RuntimeSettings,
  cases: readonly Case[],
  steps: readonly number[],
): Promise<{ name: string; actions: Float32Array[] }> {
  const runtime = await createRuntime(model, {
    ...settings,
    maxBatch: 1,
    visionCache: 0,
    onProgress: bytesProgress('Lowering the checkpoint'),
  })
  try {
    const { backend, precision, device, config } = runtime.info
    const size = config.actionHorizon * config.actionDim
    const actions = steps.map(() => new Float32Array(size * cases.length))
    for (const [index, { row }] of cases.entries()) {
      const each = await chunks(runtime, row, index, steps)
      for (const [i, chunk] of each.entries()) actions[i]!.set(chunk, index * size)
    }
    return { name: `${backend} ${precision}, ${device}`, actions }
  } finally {
    await runtime.close()
  }
}

async function chunks(
  runtime: Runtime,
  row: PerceiveRow,
  noise: number,
  steps: readonly number[],
): Promise<Float32Array[]> {
  const prefix = await runtime.perceive([row])
  try {
    const all: Float32Array[] = []
    for (const count of steps) all.push((await runtime.act(prefix, [{ steps: count, noise }])).actions)
    return all
  } finally {
    prefix.release()
  }
}

function agreement(steps: number, actual: Float32Array, expected: Float32Array): Agreement {
  let [aa, ee, ae] = [0, 0, 0]
  for (let i = 0; i < expected.length; i++) {
    aa += actual[i]! ** 2
    ee += expected[i]! ** 2
    ae += actual[i]! * expected[i]!
  }
  return { steps, ...difference(actual, expected), cosine: ae / Math.sqrt(aa * ee) }
}

function table(report: {
  reference: string
  verified: string
  observations: number
  agreements: readonly Agreement[]
  passed: boolean
}): string {
  const rows = report.agreements.map(
    ({ steps, max, mean, cosine }) =>
      `| ${steps} | ${max.toExponential(2)} | ${mean.toExponential(2)} | ${cosine.toFixed(6)} |`,
  )
  return [
    `verified:  ${report.verified}`,
    `reference: ${report.reference}`,
    `${report.observations} observations; differences of normalised actions\n`,
    '| steps | max | mean | cosine |',
    '|---|---|---|---|',
    ...rows,
    ...(report.passed ? [] : ['\nbeyond the limits given']),
  ].join('\n')
}
