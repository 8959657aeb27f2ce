import { reasonOf, TurboPiError } from '../../../errors.js'
import { readJsonObject } from '../../../storage/json-file.js'

/** What an `adapter_config.json` of PEFT says of its adapters. */
export interface AdapterConfig {
  path: string
  /** Factor of a module's product, by its name and the rank of its factors. */
  scaleOf(module: string, rank: number): number
  /** Modules that were trained whole, by the ends of their names. */
  modulesToSave: readonly string[]
}

/** Settings under which the tensors mean something else than W + scale · B·A on the weights of the base. */
const OTHER_MEANINGS: readonly [field: string, usual: readonly unknown[]][] = [
  ['peft_type', ['LORA']],
  ['bias', ['none']],
  ['fan_in_fan_out', [false]],
  ['lora_bias', [false]],
  ['use_dora', [false]],
  ['use_qalora', [false]],
  ['use_bdlora', [false]],
  ['layer_replication', [null]],
  ['target_parameters', [null]],
  ['trainable_token_indices', [null]],
  ['alora_invocation_tokens', [null]],
  // Others change the base's weights before training.
  ['init_lora_weights', [true, false, 'gaussian', 'eva', 'orthogonal']],
]

/** Reads an `adapter_config.json`. Throws CHECKPOINT_INVALID for anything that is no plain LoRA. */
export function readAdapterConfig(path: string): AdapterConfig {
  const fail = (detail: string) => new TurboPiError('CHECKPOINT_INVALID', `${path}: ${detail}`)
  const json = readJsonObject(path, 'CHECKPOINT_INVALID')
  for (const [field, usual] of OTHER_MEANINGS) {
    const value = json[field] ?? (field === 'peft_type' ? undefined : null)
    if (value !== null && !usual.includes(value) && !isEmpty(value))
      throw fail(
        `${field} is ${JSON.stringify(value)}; this server merges plain LoRA alone (${JSON.stringify(usual[0])}). Merge the adapter with PEFT and give the merged checkpoint.`,
      )
  }
  const number = (value: unknown, field: string): number => {
    if (typeof value === 'number' && value > 0 && Number.isFinite(value)) return value
    throw fail(`${field}: expected a positive number, got ${JSON.stringify(value)}`)
  }
  const rank = number(json['r'], 'r')
  const alpha = number(json['lora_alpha'], 'lora_alpha')
  const ranks = patterns(json['rank_pattern'], 'rank_pattern', path)
  const alphas = patterns(json['alpha_pattern'], 'alpha_pattern', path)
  const modules = json['modules_to_save'] ?? []
  if (!Array.isArray(modules) || modules.some(module => typeof module !== 'string'))
    throw fail(`modules_to_save: expected a list of names, got ${JSON.stringify(modules)}`)
  return {
    path,
    modulesToSave: modules as string[],
    scaleOf(module, stored) {
      const expected = ranks(module) ?? rank
      if (expected !== stored)
        throw fail(
          `${module} has rank ${stored} in the file, but ${expected} here; the files do not belong together.`,
        )
      return (alphas(module) ?? alpha) / (json['use_rslora'] === true ? Math.sqrt(stored) : stored)
    },
  }
}

const isEmpty = (value: unknown) => Array.isArray(value) && value.length === 0

/** Numbers by pattern, as PEFT reads them: the first pattern that matches the end of the module's name counts. */
function patterns(value: unknown, field: string, path: string): (module: string) => number | undefined {
  const entries = Object.entries((value ?? {}) as Record<string, unknown>).map(([pattern, number]) => {
    try {
      if (typeof number === 'number' && number > 0)
        return [new RegExp(`^(.*\\.)?(${pattern})$`), number] as const
    } catch (error) {
      throw new TurboPiError('CHECKPOINT_INVALID', `${path}: ${field}: ${reasonOf(error)}`)
    }
    throw new TurboPiError(
      'CHECKPOINT_INVALID',
      `${path}: ${field} of "${pattern}": expected a positive number, got ${JSON.stringify(number)}`,
    )
  })
  return module => entries.find(([pattern]) => pattern.test(module))?.[1]
}
