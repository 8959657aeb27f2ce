import { existsSync, readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { EMBODIMENTS, stateSizeOf } from '../embodiment.js'
import { readNormStats, sizeOfStats } from '../norm-stats.js'
import { type PolicyDirectory, readConfig } from './directory.js'
import { PRESETS, type Preset } from './presets.js'

/** An asset id has at most two parts, as a repository on Hugging Face. */
const ASSET_DEPTH = 3

/** The norm_stats.json files of a checkpoint, by their paths in it. */
export function statsIn(directory: string): string[] {
  const found: string[] = []
  const visit = (folder: string, depth: number) => {
    if (existsSync(join(folder, 'norm_stats.json')))
      found.push(relative(directory, join(folder, 'norm_stats.json')))
    if (depth === 0 || !existsSync(folder)) return
    for (const entry of readdirSync(folder, { withFileTypes: true }))
      if (entry.isDirectory()) visit(join(folder, entry.name), depth - 1)
  }
  visit(join(directory, 'assets'), ASSET_DEPTH)
  if (existsSync(join(directory, 'norm_stats.json'))) found.push('norm_stats.json')
  return found
}

/** The presets whose horizon, assets and statistics are those of a checkpoint. */
export function fittingPresets({ directory, configPath }: PolicyDirectory): string[] {
  const config = existsSync(configPath) ? readConfig(configPath) : {}
  const stated = (field: string, value: unknown) => (config[field] ?? value) === value
  return Object.entries(PRESETS)
    .filter(
      ([, preset]) =>
        stated('action_horizon', preset.actionHorizon) &&
        stated('model_type', preset.modelType) &&
        hasStatsOf(directory, preset),
    )
    .map(([name]) => name)
}

function hasStatsOf(directory: string, { assetId, embodiment }: Preset): boolean {
  const path = join(directory, 'assets', assetId, 'norm_stats.json')
  if (!existsSync(path)) return false
  try {
    const { state, actions } = readNormStats(path)
    const robot = EMBODIMENTS[embodiment]
    // Statistics padded to the network's width are as long as that.
    return [state, actions].every((stats, i) =>
      [i === 0 ? stateSizeOf(robot) : robot.actionSize, 32].includes(sizeOfStats(stats)),
    )
  } catch {
    return false
  }
}
