import { readdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { machineLine } from '../../src/commands/kit/machine.js'
import { markdownTable } from '../../src/commands/kit/table.js'
import { reasonOf } from '../../src/errors.js'
import type { Fault, Outcome } from './fault.js'
import { soak } from './soak.js'

const HELP = `npm run test:faults -- [NAME…] [--soak MINUTES]

Does to a served policy, under load, what each file of this folder says, and prints what became of the requests. Ends with
1 when an accepted request was lost or a server did not do what is promised. --soak goes on for so many minutes with one server
and the faults that it outlives, one after another.`

const { values, positionals } = parseArgs({
  options: { soak: { type: 'string' }, help: { type: 'boolean' } },
  allowPositionals: true,
})

async function faults(): Promise<Fault[]> {
  const folder = dirname(fileURLToPath(import.meta.url))
  const found: Fault[] = []
  for (const file of (await readdir(folder)).sort()) {
    if (!file.endsWith('.ts') || file === 'run.ts') continue
    const { fault } = (await import(pathToFileURL(`${folder}/${file}`).href)) as { fault?: Fault }
    if (fault) found.push(fault)
  }
  return found
}

const HEAD = [
  'fault',
  'accepted',
  'answered',
  'superseded',
  'refused',
  'lost',
  'memory MiB',
  'recovery ms',
  'what was seen',
]

const row = ({ name, what }: Pick<Fault, 'name' | 'what'>, outcome: Outcome): string[] => {
  const { accepted, answered, skipped, refused, lost, memory, recoveryMs, seen, ok } = outcome
  return [
    `${name}: ${what}`,
    ...[accepted, answered, skipped, refused, lost].map(String),
    `${memory.ready} → ${memory.peak}`,
    recoveryMs === undefined ? '' : String(Math.round(recoveryMs)),
    ok ? seen : `NOT AS PROMISED: ${seen}`,
  ]
}

async function main(): Promise<number> {
  if (values.help) {
    console.log(HELP)
    return 0
  }
  const rows: string[][] = []
  let failed = 0
  const add = (fault: Pick<Fault, 'name' | 'what'>, outcome: Outcome) => {
    rows.push(row(fault, outcome))
    if (!outcome.ok || outcome.lost > 0) failed += 1
    process.stderr.write(`${row(fault, outcome).join(' | ')}\n`)
  }
  if (values.soak !== undefined) {
    const minutes = Number(values.soak)
    add({ name: 'soak', what: `${minutes} minutes of them, one after another` }, await soak(minutes))
  } else {
    const all = await faults()
    const chosen = positionals.length > 0 ? all.filter(({ name }) => positionals.includes(name)) : all
    if (chosen.length < positionals.length)
      throw new Error(`there are ${all.map(({ name }) => name).join(', ')}`)
    for (const fault of chosen) {
      const missing = fault.needs?.()
      if (missing) {
        rows.push([`${fault.name}: ${fault.what}`, '', '', '', '', '', '', '', `not tried: needs ${missing}`])
        continue
      }
      process.stderr.write(`${fault.name} …\n`)
      try {
        add(fault, await fault.run())
      } catch (error) {
        rows.push([`${fault.name}: ${fault.what}`, '', '', '', '', '', '', '', `FAILED: ${reasonOf(error)}`])
        failed += 1
      }
      await sleep(200)
    }
  }
  console.log(`${machineLine()}\n\n${markdownTable(HEAD, rows)}`)
  return failed > 0 ? 1 : 0
}

process.exit(await main())
