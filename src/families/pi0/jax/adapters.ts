import { TurboPiError } from '../../../errors.js'
import { elementCount } from '../../../storage/safetensors.js'
import type { Leaves } from './leaves.js'
import { type Adapter, adapterNames, isAttention, isExpert } from './lora.js'
import { type JaxLora, readLoraSettings, scaleOf } from './lora-settings.js'

/**
 * The adapters of every weight that has them, and a line on each network that does. Alpha and rslora are those of the
 * files beside the checkpoint, else 1 is the scale, as in every config of openpi. Throws CHECKPOINT_INVALID.
 */
export function adaptersOf(leaves: Leaves, path: string) {
  const adapters = new Map<string, Adapter>()
  const settings = readLoraSettings(path)
  for (const weight of leaves.keys()) {
    const { a, b } = adapterNames(weight)
    if (!leaves.has(a) && !leaves.has(b)) continue
    adapters.set(weight, adapterOf(leaves, weight, settings, path))
  }
  return { adapters, ranks: attentionRanks(adapters), found: describe(adapters, settings) }
}

function adapterOf(leaves: Leaves, weight: string, settings: JaxLora | undefined, path: string): Adapter {
  const { a, b } = adapterNames(weight)
  const fail = (detail: string) => new TurboPiError('CHECKPOINT_INVALID', `${path}: ${detail}`)
  const [w, left, right] = [weight, a, b].map(name => leaves.get(name)?.shape) as [
    readonly number[],
    (readonly number[])?,
    (readonly number[])?,
  ]
  if (!left || !right)
    throw fail(
      `${weight} has only ${left ? a : b} of its two adapters; the checkpoint is incomplete, copy it again.`,
    )
  const rank = left.at(-1)!
  const fits =
    elementCount(left) * w.at(-1)! === elementCount(w) * rank &&
    elementCount(right) * w.at(-2)! === elementCount(w) * rank &&
    right.at(-2) === rank
  if (!fits)
    throw fail(
      `the adapters of ${weight}, [${left.join(', ')}] and [${right.join(', ')}], do not fit its [${w.join(', ')}]`,
    )
  const attention = isAttention(weight)
  const known = settings && (isExpert(weight) ? settings.expert : settings.prefix)
  if (attention && known && known.rank !== rank)
    throw fail(
      `${a} has rank ${rank}, but ${settings.source} says ${known.rank}; the files do not belong together.`,
    )
  return {
    a,
    b,
    rank,
    scale: attention && known ? scaleOf(known) : 1,
    batch: attention ? w.at(-3)! : 1,
    sharedB: weight.includes('attn_vec_einsum'),
  }
}

function attentionRanks(adapters: ReadonlyMap<string, Adapter>): { prefix?: number; expert?: number } {
  const ranks: { prefix?: number; expert?: number } = {}
  for (const [weight, { rank }] of adapters)
    if (isAttention(weight)) ranks[isExpert(weight) ? 'expert' : 'prefix'] = rank
  return ranks
}

function describe(adapters: ReadonlyMap<string, Adapter>, settings: JaxLora | undefined): string[] {
  return [false, true].flatMap(expert => {
    const own = [...adapters].filter(([weight]) => isExpert(weight) === expert)
    if (own.length === 0) return []
    const ranks = [...new Set(own.map(([, { rank }]) => rank))].join(' and ')
    const scale = own.find(([weight]) => isAttention(weight))?.[1].scale ?? 1
    const known = settings && (expert ? settings.expert : settings.prefix)
    const source = known
      ? `as ${settings.source} says`
      : 'since nothing beside the checkpoint says alpha; as in all openpi configs'
    return [
      `LoRA of ${expert ? 'the action expert' : 'PaliGemma'}: rank ${ranks}, attention scaled by ${scale}, ${source}`,
    ]
  })
}
