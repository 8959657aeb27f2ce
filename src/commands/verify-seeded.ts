import { createRuntime, type RuntimeModel, type RuntimeSettings } from '../runtime/create.js'
import { difference } from '../runtime/difference.js'
import { type GateCase, gateCases } from '../runtime/tensorrt/gate.js'
import type { CaseResult } from './verify-table.js'

/**
 * Differences of a runtime's actions from those of float32 on the CPU, on the inputs of the numeric gate, which are made of
 * a seed. The two are loaded one after the other, as large models need.
 */
export async function verifySeeded(model: RuntimeModel, settings: RuntimeSettings): Promise<CaseResult[]> {
  const cases = gateCases(model.model)
  const found = await actionsOf(model, settings, cases)
  const reference = { ...settings, runtime: 'cpu', precision: 'fp32', emulated: false } as const
  const expected = await actionsOf(model, reference, cases)
  return cases.map(({ name }, i) => ({
    name,
    differences: { actions: difference(found[i]!, expected[i]!) },
  }))
}

async function actionsOf(
  model: RuntimeModel,
  settings: RuntimeSettings,
  cases: readonly GateCase[],
): Promise<Float32Array[]> {
  const runtime = await createRuntime(model, settings)
  try {
    const all: Float32Array[] = []
    for (const { rows, noise, steps } of cases) {
      const prefix = await runtime.perceive(rows)
      all.push((await runtime.act(prefix, noise, steps)).actions)
      prefix.release()
    }
    return all
  } finally {
    await runtime.close()
  }
}
