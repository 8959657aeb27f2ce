import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Outcome } from './loop.js'
import { targets } from './targets.js'
import { fuzzWatched } from './watched.js'
import { fuzzWire, wires } from './wires.js'

const HELP = `npm run test:fuzz -- [--seconds 60] [--hours H] [--messages N] [--files N] [--seed S] [--only NAME] [--keep]

Changes sound messages and files, seeded, and feeds them to what reads them. A refusal by an error of ours is right; a
crash, an answer of status 500, a stack, a long answer, none at all, or seconds without end are faults, which end it with 1.
--messages and --files stop each target after so many; --keep adds inputs that reach new code to test/fuzz/corpus.`

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    hours: { type: 'string' },
    messages: { type: 'string' },
    files: { type: 'string' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
    keep: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  console.log(HELP)
  process.exit(0)
}
const chosen = <T extends { name: string }>(all: readonly T[]) =>
  all.filter(({ name }) => name.toLowerCase().includes(values.only.toLowerCase()))
const readers = chosen(targets)
const sockets = chosen(wires)
const total = values.hours ? Number(values.hours) * 3600 : Number(values.seconds)
const counted = values.messages !== undefined || values.files !== undefined
const milliseconds = counted
  ? Number.POSITIVE_INFINITY
  : (total * 1000) / Math.max(1, readers.length + sockets.length)
const share = (all: string | undefined, kind: Outcome['kind'], count: number) =>
  all === undefined
    ? counted
      ? 0
      : Number.POSITIVE_INFINITY
    : Math.ceil(Number(all) / Math.max(1, count)) * (kind ? 1 : 0)
const messages = readers.filter(({ kind }) => kind === 'message').length + sockets.length
const files = readers.length + sockets.length - messages
const budget = (kind: Outcome['kind']) => ({
  inputs: kind === 'message' ? share(values.messages, kind, messages) : share(values.files, kind, files),
  milliseconds,
  seed: Number(values.seed),
  keep: values.keep,
})

const outcomes: Outcome[] = []
const head = ['target', 'kind', 'inputs', 'refused', 'new code', 'blocks', 'worst ms', 'faults']
console.log(`| ${head.join(' | ')} |\n|${'---|'.repeat(head.length)}`)
function tell(outcome: Outcome): void {
  outcomes.push(outcome)
  const { target, kind, inputs, refused, corpus, blocks, worstMs, faults } = outcome
  console.log(
    `| ${[target, kind, inputs, refused, corpus, blocks, Math.round(worstMs), faults.length].join(' | ')} |`,
  )
}
for (const target of readers)
  if (budget(target.kind).inputs > 0) tell(await fuzzWatched(target, budget(target.kind)))
for (const wire of sockets) if (budget('message').inputs > 0) tell(await fuzzWire(wire, budget('message')))

const sum = (kind: Outcome['kind']) =>
  outcomes.filter(o => o.kind === kind).reduce((n, { inputs }) => n + inputs, 0)
const faults = outcomes.flatMap(({ target, faults }) => faults.map(fault => ({ target, ...fault })))
console.log(
  `\n${sum('message')} messages, ${sum('file')} files, seed ${values.seed}: ${faults.length} faults`,
)
if (faults.length > 0) {
  const path = join(tmpdir(), 'turbo-pi-fuzz-faults.json')
  writeFileSync(path, JSON.stringify(faults, null, 1))
  for (const { target, what } of faults) console.log(`${target}: ${what}`)
  console.log(`The inputs, in base64, are in ${path}.`)
}
process.exit(faults.length > 0 ? 1 : 0)
