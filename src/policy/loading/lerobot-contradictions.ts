import { type Json, record, type SavedProcessors } from './lerobot-processors.js'

/** Where config.json says something else than the saved processors, which count. A sentence each. */
export function contradictions(config: Json, input: SavedProcessors, output: SavedProcessors): string[] {
  const notes: string[] = []
  const compare = (
    { path }: SavedProcessors,
    setting: string,
    saved: unknown,
    field: string,
    said: unknown,
  ) => {
    if (said === undefined || JSON.stringify(said) === JSON.stringify(saved ?? null)) return
    notes.push(
      `config.json says ${field} ${JSON.stringify(said)}, ${path} has ${setting} ${JSON.stringify(saved ?? null)}: the saved processor counts, as in LeRobot`,
    )
  }
  const mapping = record(config['normalization_mapping'])
  for (const [saved, step, feature] of [
    [input, 'normalizer_processor', 'STATE'],
    [output, 'unnormalizer_processor', 'ACTION'],
  ] as const) {
    const mode = record(saved.config(step)['norm_map'])[feature]
    compare(saved, `norm_map.${feature}`, mode, `normalization_mapping.${feature}`, mapping[feature])
  }
  const { max_length: length = 512 } = input.config('tokenizer_processor')
  compare(input, 'max_length', length, 'tokenizer_max_length', config['tokenizer_max_length'])
  const {
    enabled = false,
    exclude_joints: excluded = [],
    action_names: names,
  } = input.config('relative_actions_processor')
  compare(
    input,
    'relative_actions_processor.enabled',
    enabled,
    'use_relative_actions',
    config['use_relative_actions'],
  )
  if (enabled !== true) return notes
  compare(input, 'exclude_joints', excluded, 'relative_exclude_joints', config['relative_exclude_joints'])
  compare(input, 'action_names', names, 'action_feature_names', config['action_feature_names'] ?? undefined)
  return notes
}
