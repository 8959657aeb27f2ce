import { createRuntime, type RuntimeModel, type RuntimeSettings } from '../runtime/create.js'
import { type Difference, difference } from '../runtime/difference.js'
import { chunksOf, SEEDED_STEPS, type SeededCase, seededCases } from '../runtime/seeded-cases.js'
import type { CaseResult } from './verify-table.js'

const kindOf = (steps: number) => `actions after ${steps} ${steps === 1 ? 'step' : 'steps'}`

/** The kinds of difference that `verifySeeded` gives. */
export const SEEDED_KINDS = SEEDED_STEPS.map(kindOf)

/**
 * Differences of a runtime's actions from those of float32 on the CPU, on inputs made of a seed. The two are loaded one
 * after the other, as large models need.
 */
export async function verifySeeded(model: RuntimeModel, settings: RuntimeSettings): Promise<CaseResult[]> {
  const cases = seededCases(model.model, settings.maxBatch)
  const found = await chunksOfAll(model, settings, cases)
  const expected = await chunksOfAll(model, { ...settings, runtime: 'cpu', precision: 'fp32' }, cases)
  return cases.map(({ name }, i) => ({
    name,
    differences: Object.fromEntries(
      SEEDED_KINDS.map((kind, k): [string, Difference] => [
        kind,
        difference(found[i]![k]!, expected[i]![k]!),
      ]),
    ),
  }))
}

async function chunksOfAll(model: RuntimeModel, settings: RuntimeSettings, cases: readonly SeededCase[]) {
  const runtime = await createRuntime(model, settings)
  try {
    const all: Float32Array[][] = []
    for (const one of cases) all.push(await chunksOf(runtime, one))
    return all
  } finally {
    await runtime.close()
  }
}
