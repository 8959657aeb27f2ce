import { existsSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Config } from '../config.js'
import { reasonOf } from '../errors.js'
import {
  exportModel,
  type GraphName,
  type LoweredModel,
  type ModelSource,
} from '../families/lowered-model.js'
import type { ModelConfig } from '../families/pi0/config.js'
import { shapeAt, sizeRanges } from '../families/pi0/sizes.js'
import { ARITHMETICS, PRECISIONS } from '../onnx/arithmetic.js'
import { OPSET } from '../onnx/encode.js'
import { presetOf } from '../policy/loading/presets.js'
import { usage as usageOf } from '../settings/arguments.js'
import { ENGINE_SETTINGS } from '../settings/engine.js'
import { CONFIG_FILE } from '../settings/general.js'
import { directory, flag } from '../settings/kinds.js'
import { POLICY_SETTINGS } from '../settings/policy.js'
import { makeDirectory } from '../storage/make-directory.js'
import { bytesProgress } from './kit/bytes-progress.js'
import { type Call, command as define } from './kit/command.js'
import { configuredPolicy } from './kit/configured-policy.js'
import { givenModel } from './kit/given-model.js'

const OPTIONS = {
  output: directory({ meaning: 'where to write; made when it is not there' }),
  model: directory({
    meaning:
      'instead of a policy: a checkpoint directory with model.safetensors and config.json, or a JAX one; --config NAME says its horizon where no config.json does',
  }),
  force: flag({ meaning: 'write into a directory that is not empty' }),
}

export const command = define(
  {
    name: 'export',
    forms: ['--output DIR [options]'],
    about: `
Writes a checkpoint as ONNX graphs (vision, prefix, denoise, modulation) and one weights file, and prints for each graph
the trtexec line that builds it. --precision auto is bf16 here; --max-batch is the rows that the printed shapes allow.`,
    options: OPTIONS,
    settings: {
      ...POLICY_SETTINGS,
      precision: ENGINE_SETTINGS.precision,
      maxBatch: ENGINE_SETTINGS.maxBatch,
      cacheDir: ENGINE_SETTINGS.cacheDir,
      ...CONFIG_FILE,
    },
  },
  write,
)

/** Those of standard operators: products of integers are ONNX Runtime's own. */
const EXPORTED = PRECISIONS.filter(name => Object.keys(ARITHMETICS[name].projections).length === 0)

const usage = (detail: string) => usageOf('export', detail)

async function write({ own, config: settings }: Call<typeof OPTIONS>): Promise<number> {
  const precision = settings.precision === 'auto' ? 'bf16' : settings.precision
  if (!EXPORTED.includes(precision))
    throw usage(`--precision is ${precision}; graphs are exported in ${EXPORTED.join(', ')}.`)
  if (!own.output) throw usage('--output DIR is missing: the directory to write the graphs to.')
  if (own.model && settings.policy.length > 0) throw usage('Give --policy or --model, not both.')

  const checkpoint = own.model ? modelIn(resolve(own.model), settings) : await checkpointOf(settings)
  const directory = resolve(own.output)
  prepare(directory, own.force)
  const source = { ...checkpoint, precision }
  const onProgress = bytesProgress('Writing the weights')
  const model = await exportModel(source, directory, onProgress)
  console.log(report(model, directory, settings.maxBatch))
  return 0
}

type Source = Omit<ModelSource, 'precision'>

/** A checkpoint without its policy; the preset has the horizon where no config.json says it. */
function modelIn(directory: string, settings: Config): Source {
  const { config, weightsPath, horizonIsKnown } = givenModel(directory)
  const adapterPath = settings.adapter && resolve(settings.adapter)
  if (horizonIsKnown) return { config, weightsPath, adapterPath }
  if (settings.config === undefined)
    throw usage(
      `${directory} does not say how many rows an action chunk has; name its config, for example --config pi05_libero.`,
    )
  const { actionHorizon, maxTokenLength } = presetOf(settings.config)
  return { config: { ...config, actionHorizon, maxTokenLength }, weightsPath, adapterPath }
}

async function checkpointOf(settings: Config): Promise<Source> {
  const policy = await configuredPolicy(settings)
  await policy.close()
  const { model, weightsPath, adapterPath } = policy
  return { config: model, weightsPath, adapterPath }
}

/** An empty directory to write to. `model.json` marks a whole model, so that an old one goes first. */
function prepare(directory: string, force: boolean): void {
  const held = existsSync(directory) && statSync(directory).isDirectory() ? readdirSync(directory) : []
  if (held.length > 0 && !force)
    throw usage(
      `--output ${directory} is not empty: it holds ${held.slice(0, 3).join(', ')}${held.length > 3 ? ` and ${held.length - 3} more` : ''}. Name another directory, or pass --force to write over the graphs there.`,
    )
  try {
    makeDirectory(directory)
    rmSync(join(directory, 'model.json'), { force: true })
  } catch (error) {
    throw usage(`--output ${directory} cannot be written: ${reasonOf(error)}.`)
  }
}

function report(model: LoweredModel, directory: string, maxBatch: number): string {
  const { config, precision } = model
  const names = Object.keys(model.graphs) as GraphName[]
  const files = [...names.map(name => `${name}.onnx`), 'weights.bin', 'model.json']
  return [
    `${directory}: ${config.modelType}, ${precision}, ONNX opset ${OPSET}, strongly typed`,
    ...files.map(file => `  ${file.padEnd(16)} ${size(statSync(join(directory, file)).size)}`),
    '',
    'To build the engines by hand, in that directory (TensorRT 10.13 or newer):',
    ...names.map(name => `\n${trtexecLine(name, model, config, maxBatch)}`),
  ].join('\n')
}

const size = (bytes: number) =>
  bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`

/** What builds one graph with every size that `maxBatch` rows need. */
export function trtexecLine(
  name: GraphName,
  { graphs }: Pick<LoweredModel, 'graphs'>,
  config: ModelConfig,
  maxBatch: number,
): string {
  const ranges = sizeRanges(config, maxBatch)
  const moving = graphs[name].inputs.filter(({ shape }) => shape.some(size => typeof size === 'string'))
  const shapes = (['min', 'opt', 'max'] as const).map(end => {
    const list = moving.map(input => `${input.name}:${shapeAt(input, ranges, end).join('x')}`)
    return `--${end}Shapes=${list.join(',')}`
  })
  return ['trtexec', `--onnx=${name}.onnx`, '--stronglyTyped', ...shapes, `--saveEngine=${name}.plan`].join(
    ' ',
  )
}
