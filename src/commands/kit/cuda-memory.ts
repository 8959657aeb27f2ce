import type { Config } from '../../config.js'
import { reasonOf } from '../../errors.js'
import type { CheckResult } from '../../policy/loading/checklist.js'
import type { Policy } from '../../policy/policy.js'
import { cudaStages, lacksPrecision } from '../../runtime/cuda/create.js'
import { described, roomFor } from '../../runtime/cuda/memory.js'
import { loadAddon } from '../../runtime/gpu/addon.js'

/** What a policy takes on the first GPU by --runtime cuda, and whether that is free there. */
export async function cudaMemoryCheck(
  policy: Policy,
  { precision, pipeline, maxBatch }: Pick<Config, 'precision' | 'pipeline' | 'maxBatch'>,
  addon = loadAddon(),
): Promise<CheckResult> {
  const name = 'GPU memory'
  try {
    if ('reason' in addon) return { name, status: 'note', detail: `${addon.reason}: ${addon.hint}` }
    const computed = precision === 'auto' ? 'bf16' : precision
    const lacking = await lacksPrecision(addon, computed, 0)
    if (lacking) return { name, status: 'failed', detail: `${lacking.reason}: ${lacking.hint}.` }
    const { needed, short } = await roomFor(addon, {
      stages: cudaStages({
        weightsPath: policy.weightsPath,
        config: policy.model,
        precision: computed,
        maxBatch,
      }),
      lanes: pipeline === 'on' ? 2 : 1,
      device: 0,
    })
    if (short) return { name, status: 'failed', detail: `${short}.\nLower --max-batch, or free the card.` }
    return { name, status: 'ok', detail: `${described(needed)}, and what CUDA takes for itself` }
  } catch (error) {
    return { name, status: 'failed', detail: reasonOf(error) }
  } finally {
    await policy.close()
  }
}
