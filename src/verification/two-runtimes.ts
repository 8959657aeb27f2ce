import type { PerceiveRow } from '../families/pi0/perceive-row.js'
import { type Difference, difference } from '../runtime/agreement/difference.js'
import { runCase } from '../runtime/agreement/run-case.js'
import type { Runtime } from '../runtime/runtime.js'

/** Differences of the normalised actions at one number of steps, over all observations. */
export interface Agreement extends Difference {
  steps: number
  cosine: number
}

export interface Comparison {
  /** Backend, precision and device. */
  reference: string
  verified: string
  agreements: Agreement[]
}

/** What one runtime made of the rows: the actions of all rows one after another, for each number of steps. */
interface Chunks {
  name: string
  actions: Float32Array[]
}

/** Runs the same rows and noise through two runtimes, one after the other; each is closed before the next is opened. */
export async function compareRuntimes(
  reference: () => Promise<Runtime>,
  verified: () => Promise<Runtime>,
  rows: readonly PerceiveRow[],
  steps: readonly number[],
): Promise<Comparison> {
  const expected = await chunksOf(await reference(), rows, steps)
  const actual = await chunksOf(await verified(), rows, steps)
  return {
    reference: expected.name,
    verified: actual.name,
    agreements: steps.map((count, i) => ({
      steps: count,
      ...difference(actual.actions[i]!, expected.actions[i]!),
      cosine: cosine(actual.actions[i]!, expected.actions[i]!),
    })),
  }
}

async function chunksOf(
  runtime: Runtime,
  rows: readonly PerceiveRow[],
  steps: readonly number[],
): Promise<Chunks> {
  try {
    const { backend, precision, device, config } = runtime.info
    const size = config.actionHorizon * config.actionDim
    const actions = steps.map(() => new Float32Array(size * rows.length))
    for (const [index, row] of rows.entries()) {
      const runs = steps.map(count => [{ steps: count, noise: index }])
      const results = await runCase(runtime, { name: `observation ${index}`, rows: [row], runs })
      for (const [i, result] of results.entries()) actions[i]!.set(result.actions, index * size)
    }
    return { name: `${backend} ${precision}, ${device}`, actions }
  } finally {
    await runtime.close()
  }
}

function cosine(actual: Float32Array, expected: Float32Array): number {
  let [aa, ee, ae] = [0, 0, 0]
  for (let i = 0; i < expected.length; i++) {
    aa += actual[i]! ** 2
    ee += expected[i]! ** 2
    ae += actual[i]! * expected[i]!
  }
  return ae / Math.sqrt(aa * ee)
}
