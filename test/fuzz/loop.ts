import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { repositoryPath } from '../support/served-policy.js'
import { CoverageGuide } from './coverage.js'
import { Random } from './random.js'
import { faultOf, type Target } from './target.js'

export interface Budget {
  /** The loop ends after so many inputs, or so many milliseconds. */
  inputs: number
  milliseconds: number
  seed: number
  /** Keeps inputs that reach new code in the corpus. */
  keep: boolean
}

export interface Outcome {
  target: string
  kind: Target['kind']
  inputs: number
  refused: number
  /** Inputs that reached code that none before had reached. */
  corpus: number
  blocks: number
  worstMs: number
  faults: { what: string; input: string }[]
}

const SMALLEST_BATCH = 16
const LARGEST_BATCH = 4096
const MOST_FAULTS = 5
/** An input that takes longer is a fault: the event loop would stand still for it. */
const SLOW_MS = 2000

const corpusOf = (name: string) => repositoryPath(join('test/fuzz/corpus', name))

/** The seeds of a target and what its folder of the corpus holds. */
export function seedsOf(target: Target): Buffer[] {
  const folder = corpusOf(target.name)
  const kept = existsSync(folder) ? readdirSync(folder).map(file => readFileSync(join(folder, file))) : []
  return [...target.seeds(), ...kept]
}

/** The outcome before any input. */
export const nothingYet = ({ name, kind }: Pick<Outcome, 'kind'> & { name: string }): Outcome => ({
  target: name,
  kind,
  inputs: 0,
  refused: 0,
  corpus: 0,
  blocks: 0,
  worstMs: 0,
  faults: [],
})

/** Feeds a target with changed inputs, and goes on from those that reach new code. `before` hears of each input. */
export function fuzz(target: Target, budget: Budget, before: (input: Buffer) => void = () => {}): Outcome {
  const random = new Random(budget.seed)
  const guide = new CoverageGuide()
  const corpus = seedsOf(target)
  const outcome = nothingYet(target)
  const end = performance.now() + budget.milliseconds
  const run = (input: Buffer) => {
    before(input)
    const start = performance.now()
    const used = process.cpuUsage()
    let what: string | undefined
    try {
      target.read(input)
    } catch (error) {
      outcome.refused += 1
      what = faultOf(error)
    }
    // On a busy machine an input waits for a processor, which is not its fault.
    const { user, system } = process.cpuUsage(used)
    const took = Math.min(performance.now() - start, (user + system) / 1000)
    outcome.inputs += 1
    outcome.worstMs = Math.max(outcome.worstMs, took)
    if (took > SLOW_MS) what ??= `took ${Math.round(took)} ms`
    if (what && outcome.faults.length < MOST_FAULTS)
      outcome.faults.push({ what, input: input.toString('base64') })
  }
  const read = (input: Buffer) => {
    if (performance.now() > end) return
    before(input)
    try {
      target.read(input)
    } catch {
      // A refusal, or a fault that has been told.
    }
  }
  for (const input of corpus) run(input)
  const seen = new Set(guide.ran())
  let size = SMALLEST_BATCH
  while (outcome.inputs < budget.inputs && performance.now() < end && outcome.faults.length < MOST_FAULTS) {
    const batch = Array.from({ length: size }, () =>
      target.mutate(random.of(corpus), random.of(corpus), random),
    )
    for (const input of batch) if (performance.now() < end) run(input)
    const fresh = new Set(guide.ran().filter(block => !seen.has(block)))
    // Asking what has run takes longer than running a few inputs.
    if (fresh.size === 0) size = Math.min(2 * size, LARGEST_BATCH)
    for (const block of fresh) seen.add(block)
    for (const input of reaching(read, guide, batch, fresh)) {
      corpus.push(input)
      outcome.corpus += 1
      if (budget.keep) keep(target, input)
    }
  }
  outcome.blocks = seen.size
  guide.close()
  return outcome
}

/** Which of some inputs reach the `fresh` blocks, found by halves. */
function reaching(
  read: (input: Buffer) => void,
  guide: CoverageGuide,
  inputs: Buffer[],
  fresh: Set<string>,
): Buffer[] {
  if (fresh.size === 0) return []
  if (inputs.length === 1) return inputs
  const half = inputs.length >> 1
  const found: Buffer[] = []
  for (const part of [inputs.slice(0, half), inputs.slice(half)]) {
    part.forEach(read)
    const here = new Set(guide.ran().filter(block => fresh.delete(block)))
    found.push(...reaching(read, guide, part, here))
  }
  return found
}

function keep({ name }: Target, input: Buffer): void {
  // What is kept is read by people, and travels with the repository.
  if (input.length > 8192) return
  mkdirSync(corpusOf(name), { recursive: true })
  writeFileSync(join(corpusOf(name), createHash('sha256').update(input).digest('hex').slice(0, 12)), input)
}
