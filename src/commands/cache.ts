import { existsSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { readModel } from '../families/lowered-model.js'
import { usage } from '../settings/arguments.js'
import { ENGINE_SETTINGS } from '../settings/engine.js'
import { CONFIG_FILE } from '../settings/general.js'
import { flag, text, type Values } from '../settings/kinds.js'
import { cacheDirectory } from '../storage/cache.js'
import { type CacheEntry, listEntries, removeEntry } from '../storage/entries.js'
import { type Call, command as define, refuse } from './kit/command.js'

const OPTIONS = {
  json: flag({ meaning: 'ls: print the list as JSON' }),
  unusedFor: text({ takes: 'AGE', meaning: 'prune: remove what was not loaded for so long: 12h, 30d' }),
  maxSize: text({
    takes: 'SIZE',
    meaning: 'prune: remove the least recently loaded until the rest takes no more: 500MB, 20GB',
  }),
  all: flag({ meaning: 'prune: remove everything' }),
  dryRun: flag({ meaning: 'prune: only say what would be removed' }),
}

export const command = define(
  {
    name: 'cache',
    forms: ['ls [--json]', 'prune --unused-for AGE | --max-size SIZE | --all [--dry-run]'],
    about: `
Lists what the cache holds (lowered models, TensorRT engines, random weights), or removes of it what is not needed. What a
running process uses is never removed. A model that is missed is lowered again when it is served.`,
    positionals: { least: 1, most: 1, what: 'ls or prune', offers: ['ls', 'prune'] },
    options: OPTIONS,
    settings: { cacheDir: ENGINE_SETTINGS.cacheDir, ...CONFIG_FILE },
  },
  manage,
)

async function manage({ own, config, positionals, given }: Call<typeof OPTIONS>): Promise<number> {
  const cache = config.cacheDir ?? cacheDirectory()
  const [action] = positionals
  if (action !== 'ls' && action !== 'prune')
    throw usage('cache', `cache takes ls or prune, got ${JSON.stringify(action)}.`)
  refuse('cache', action, given, action === 'ls' ? PRUNING : ['json'])
  if (existsSync(cache) && !statSync(cache).isDirectory())
    throw usage('cache', `--cache-dir ${cache} is a file; expected a folder.`)
  const entries = listEntries(cache)
  if (action === 'prune') return prune(cache, entries, chosen(entries, own), own.dryRun)
  console.log(own.json ? JSON.stringify(entries.map(described), null, 2) : table(cache, entries))
  return 0
}

const PRUNING = ['unusedFor', 'maxSize', 'all', 'dryRun'] as const

const HOUR_MS = 3_600_000
const AGES = { h: HOUR_MS, d: 24 * HOUR_MS }
const SIZES = { MB: 1e6, GB: 1e9, TB: 1e12 }

/** `20GB` → 2e10. */
function quantity(flag: string, text: string, units: Readonly<Record<string, number>>): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?)([A-Za-z]+)$/.exec(text) ?? []
  const factor = unit === undefined ? undefined : units[unit]
  if (factor !== undefined) return Number(number) * factor
  throw usage('cache', `--${flag} takes a number and one of ${Object.keys(units).join(', ')}, got ${text}.`)
}

/** The entries to remove, whether they are in use or not. */
function chosen(
  entries: readonly CacheEntry[],
  { unusedFor: age, maxSize: size, all }: Values<typeof OPTIONS>,
): CacheEntry[] {
  if (!all && age === undefined && size === undefined)
    throw usage(
      'cache',
      'cache prune takes --unused-for AGE, --max-size SIZE or --all: what is to be removed.',
    )
  const oldest = age === undefined ? Number.NEGATIVE_INFINITY : Date.now() - quantity('unused-for', age, AGES)
  const limit = size === undefined ? Number.POSITIVE_INFINITY : quantity('max-size', size, SIZES)
  let left = entries.reduce((sum, { bytes }) => sum + bytes, 0)
  return entries.filter(({ used, users, bytes }) => {
    const out = all || used.getTime() < oldest || left > limit
    if (out && users.length === 0) left -= bytes
    return out
  })
}

function prune(
  cache: string,
  entries: readonly CacheEntry[],
  out: readonly CacheEntry[],
  dry: boolean,
): number {
  let freed = 0
  for (const entry of out) {
    const { kind, name, bytes, users } = entry
    const [user] = users
    if (user) console.log(`kept     ${kind} ${name}: ${user.name} uses it`)
    else if (!dry && !removeEntry(cache, entry))
      console.log(`kept     ${kind} ${name}: it has just been taken into use`)
    else {
      freed += bytes
      console.log(`${dry ? 'would be removed' : 'removed'}  ${kind} ${name}, ${gigabytes(bytes)}`)
    }
  }
  // Beside the entries lie notes of what checkpoints hold; they cost a reading each.
  if (out.length === entries.length && !dry) rmSync(join(cache, 'contents'), { recursive: true, force: true })
  console.log(`${gigabytes(freed)} ${dry ? 'would be' : 'were'} freed in ${cache}.`)
  return 0
}

/** What an entry was made of. */
function origin({ kind, directory, name }: CacheEntry): { checkpoint: string; arithmetic: string } {
  const model = kind === 'engines' ? join(directory, '..', '..', 'models', name.split('-')[0]!) : directory
  try {
    const { checkpoint, precision } = readModel(model)
    return { checkpoint, arithmetic: precision }
  } catch {
    return { checkpoint: '', arithmetic: '' }
  }
}

const described = (entry: CacheEntry) => ({
  ...entry,
  ...origin(entry),
  users: entry.users.map(({ name }) => name),
})

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(bytes < 1e8 ? 3 : 1)} GB`

function age(date: Date): string {
  const hours = (Date.now() - date.getTime()) / HOUR_MS
  return hours < 48 ? `${hours.toFixed(1)} h` : `${(hours / 24).toFixed(0)} d`
}

function table(cache: string, entries: readonly CacheEntry[]): string {
  if (entries.length === 0) return `${cache} is empty.`
  const rows = entries.map(entry => {
    const { checkpoint, arithmetic, users } = described(entry)
    const state = users.length > 0 ? 'in use' : ''
    const { kind, name, bytes, made, used } = entry
    return [kind, name, gigabytes(bytes), arithmetic, age(made), age(used), state, checkpoint]
  })
  const head = ['kind', 'name', 'size', 'arithmetic', 'age', 'last used', '', 'checkpoint']
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map(row => row[column]?.length ?? 0)),
  )
  const lines = [head, ...rows].map(row =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  )
  const total = entries.reduce((sum, { bytes }) => sum + bytes, 0)
  return [...lines, '', `${gigabytes(total)} in ${cache}.`].join('\n')
}
