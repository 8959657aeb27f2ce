import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ModelConfig } from '../src/families/pi0/config.js'
import type { Policy } from '../src/policy/policy.js'
import type { Runtime } from '../src/runtime/runtime.js'
import { built } from './built.js'
import { MeasuringRuntime } from './measuring-runtime.js'

const { writeRandomCheckpoint } = await built<typeof import('../src/families/pi0/random-weights.js')>(
  'families/pi0/random-weights.js',
)
const { Checks } = await built<typeof import('../src/policy/loading/checklist.js')>(
  'policy/loading/checklist.js',
)
const { inspectPolicy } =
  await built<typeof import('../src/policy/loading/inspect.js')>('policy/loading/inspect.js')
const { RobotPolicy } = await built<typeof import('../src/policy/robot-policy.js')>('policy/robot-policy.js')
const { createRuntime } = await built<typeof import('../src/runtime/backends.js')>('runtime/backends.js')

/** What stands behind the server of a load test. */
export interface Engine {
  /** Milliseconds of a pretended inference, or a model that the CPU computes. */
  engine: number | 'bundled' | 'larger'
  maxBatch: number
  /** 2: perceive and act overlap, on the CPU with half of the threads each. */
  lanes: 1 | 2
  /** Of the CPU engine, all lanes together. */
  threads: number
}

/** About 30 million parameters: large enough that computing outweighs everything around it. */
function larger(tiny: ModelConfig): ModelConfig {
  const gemma = { depth: 6, heads: 8, kvHeads: 1, headDim: 64 }
  return {
    ...tiny,
    vision: { ...tiny.vision, width: 256, depth: 6, heads: 4, mlpDim: 1024 },
    prefix: { ...gemma, width: 512, mlpDim: 2048 },
    expert: { ...gemma, width: 256, mlpDim: 1024 },
  }
}

/** The bundled policy, and an engine of its sizes or of a larger random model. */
export async function createEngine(settings: Engine): Promise<{ policy: Policy; runtime: Runtime }> {
  const { engine, maxBatch, lanes, threads } = settings
  const directory = fileURLToPath(new URL('../policies/tabletop', import.meta.url))
  const parts = inspectPolicy(directory, {}, new Checks({ stopAtFirst: true }))
  if (!parts) throw new Error('the bundled policy is damaged')
  if (typeof engine === 'number') {
    const policy = new RobotPolicy(parts)
    return { policy, runtime: new MeasuringRuntime(policy.model, { engineMs: engine, maxBatch, lanes }) }
  }
  if (engine === 'larger') {
    parts.model = larger(parts.model)
    parts.weightsPath = join(mkdtempSync(join(tmpdir(), 'turbo-pi-loadtest-')), 'model.safetensors')
    writeRandomCheckpoint(parts.weightsPath, parts.model, { seed: 0 })
  }
  const policy = new RobotPolicy(parts)
  const runtime = await createRuntime(policy, {
    runtime: 'cpu',
    precision: 'fp32',
    pipeline: lanes === 2 ? 'on' : 'off',
    threads,
    maxBatch,
  })
  return { policy, runtime }
}
