import { TurboPiError } from '../../../errors.js'
import type { Safetensors } from '../../../storage/safetensors.js'
import type { TensorStore } from '../../../storage/tensor-source.js'
import { canonicalName, EMBEDDING, TIED_EMBEDDING } from '../tensors.js'
import type { AdapterConfig } from './adapter-config.js'

const ROOT = 'base_model.model.'
const LORA = /^(.*)\.lora_([AB])\.weight$/

/** What an adapter makes of a tensor of the base: it adds B·A to it, or takes its place. */
export type Change = { a: string; b: string; rank: number; scale: number } | { replaces: string }

/** The changes of a base's tensors, by their names there. Throws CHECKPOINT_INVALID for an adapter of another model. */
export function changesOf(
  base: TensorStore,
  adapter: Safetensors,
  config: AdapterConfig,
): Map<string, Change> {
  const fail = (detail: string) => new TurboPiError('CHECKPOINT_INVALID', `${adapter.path}: ${detail}`)
  const stored = new Map([...base.tensors.keys()].map(name => [canonicalName(name), name]))
  const tied = stored.get(TIED_EMBEDDING)
  if (!stored.has(EMBEDDING) && tied) stored.set(EMBEDDING, tied)
  const nameOf = (inAdapter: string, module: string) => {
    const name = stored.get(canonicalName(module))
    if (name) return name
    throw fail(
      `${inAdapter} is for a tensor that ${base.path} does not have; it is an adapter of another model.`,
    )
  }
  const changes = new Map<string, Change>()
  for (const [inAdapter, { shape }] of adapter.tensors) {
    if (!inAdapter.startsWith(ROOT))
      throw fail(`tensor ${inAdapter}: expected a name that begins with ${ROOT}`)
    const name = inAdapter.slice(ROOT.length)
    const [, module, factor] = LORA.exec(name) ?? []
    if (module === undefined) {
      if (!config.modulesToSave.some(saved => `.${name}`.includes(`.${saved}.`)))
        throw fail(
          `tensor ${inAdapter} is no lora_A or lora_B, and ${config.path} does not list it under modules_to_save.`,
        )
      const target = nameOf(inAdapter, name)
      if (shape.join() !== base.shape(target).join())
        throw fail(
          `${inAdapter} has shape [${shape.join(', ')}], the base's has [${base.shape(target).join(', ')}]`,
        )
      changes.set(target, { replaces: inAdapter })
      continue
    }
    const [a, b] = ['A', 'B'].map(letter => `${ROOT}${module}.lora_${letter}.weight`) as [string, string]
    if (!adapter.tensors.has(factor === 'A' ? b : a))
      throw fail(`there is ${inAdapter}, but no ${factor === 'A' ? b : a}`)
    if (factor === 'B') continue
    const target = nameOf(inAdapter, `${module}.weight`)
    const rank = shape[0]!
    const weight = base.shape(target)
    const fits =
      [weight[0], rank].join() === adapter.shape(b).join() && [rank, weight[1]].join() === shape.join()
    if (!fits || weight.length !== 2)
      throw fail(
        `the adapters of ${module}, [${shape.join(', ')}] and [${adapter.shape(b).join(', ')}], do not fit its [${weight.join(', ')}]`,
      )
    changes.set(target, { a, b, rank, scale: config.scaleOf(module, rank) })
  }
  if (changes.size === 0) throw fail('holds no adapter')
  const absent = config.modulesToSave.find(
    saved => ![...adapter.tensors.keys()].some(name => name.includes(`.${saved}.`)),
  )
  if (absent !== undefined)
    throw fail(`${config.path} lists ${absent} under modules_to_save, but the file does not hold it.`)
  return changes
}
