import { basename } from 'node:path'
import type { ModelConfig } from '../families/pi0/config.js'
import { readModelDirectory } from '../families/pi0/model-directory.js'
import type { Difference } from '../runtime/agreement/difference.js'
import { type CaseTensors, runCase } from '../runtime/agreement/run-case.js'
import type { RuntimeModel } from '../runtime/backends.js'
import type { Runtime } from '../runtime/runtime.js'
import { compareToGolden, type GoldenCase, openGoldenCase } from './golden-case.js'
import { type CaseResult, skippedCase } from './results.js'

export interface GoldenCases {
  /** Directory of the checkpoint. */
  model: string
  /** Safetensors files. */
  files: readonly string[]
  /** Folder of the cases whose observations others use. */
  inputs?: string
  /** Folder of a PEFT adapter to merge into the weights. */
  adapterPath?: string | undefined
  /** Tensor of the cases that the actions are compared with; default `out.actions`. */
  reference?: string
  /** Kinds of tensors that are compared. */
  kinds: readonly string[]
  /** Runs the checkpoint at a case's shape; closed when all cases are through. */
  createRuntime(model: RuntimeModel, maxBatch: number): Promise<Runtime>
  /** Hears which adapters are merged into the checkpoint. */
  onNote?: (note: string) => void
}

/** Runs golden cases through the network; a case that cannot be run is given back as skipped, with the reason. */
export async function verifyGoldenCases(options: GoldenCases): Promise<CaseResult[]> {
  const { config, weightsPath, adapters } = readModelDirectory(options.model)
  for (const adapter of adapters) options.onNote?.(adapter)
  const { adapterPath } = options
  const runtimes = new Map<string, Promise<Runtime>>()
  const runtimeFor = (model: ModelConfig, maxBatch: number) => {
    const { actionHorizon, maxTokenLength, trainedDelay, timeGrid } = model
    const key = JSON.stringify([actionHorizon, maxTokenLength, trainedDelay, timeGrid, maxBatch])
    const made = runtimes.get(key) ?? options.createRuntime({ weightsPath, adapterPath, model }, maxBatch)
    runtimes.set(key, made)
    return made
  }
  try {
    const results: CaseResult[] = []
    for (const file of options.files) results.push(await verifyCase(file, config, runtimeFor, options))
    return results
  } finally {
    await Promise.allSettled([...runtimes.values()].map(async runtime => (await runtime).close()))
  }
}

async function verifyCase(
  file: string,
  config: ModelConfig,
  runtimeFor: (model: ModelConfig, maxBatch: number) => Promise<Runtime>,
  { model: directory, inputs, reference, kinds }: GoldenCases,
): Promise<CaseResult> {
  let golden: GoldenCase | undefined
  try {
    golden = openGoldenCase(file, config, inputs)
    const { name, model, rows, sampling } = golden
    const folder = basename(directory)
    if (model && folder.startsWith('model_') && folder !== `model_${model}`)
      return { name, differences: {}, skipped: `it is a case of model_${model}` }
    const differences: Record<string, Difference> = {}
    for (const [i, { kind, tensor, timeGrid = config.timeGrid }] of golden.references.entries()) {
      const shaped = { ...golden.config, timeGrid }
      const runtime = await runtimeFor(shaped, rows.length)
      const [tensors] = await runCase(runtime, { name, rows, runs: [sampling], traced: true })
      const found = compareToGolden(golden, tensors as Required<CaseTensors>, shaped, reference ?? tensor)
      Object.assign(differences, i === 0 ? found : { [kind]: found['actions'] })
    }
    const wanted = Object.entries(differences).filter(([kind]) => kinds.includes(kind))
    return { name, differences: Object.fromEntries(wanted) }
  } catch (error) {
    return skippedCase(basename(file, '.safetensors'), error)
  } finally {
    golden?.tensors.close()
  }
}
