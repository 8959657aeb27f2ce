import { availableParallelism } from 'node:os'
import type { BatchTimes, Profile } from '../../capacity/profile.js'
import { quantile, timesOf } from '../../capacity/times.js'
import type { Observation } from '../../contract/observation.js'
import type { Policy } from '../../policy/policy.js'
import type { Runtime } from '../../runtime/runtime.js'
import { alignedTable } from '../kit/table.js'
import { type Measuring, photographed, WARM_UP } from './measure.js'

/** What a profile holds beside the names of policy and machine. */
export type Batches = Pick<
  Profile,
  'cores' | 'lanes' | 'prefixSlots' | 'joins' | 'steps' | 'prepare' | 'batches'
>

/** Powers of two, and the most that the engine takes. */
function sizes(maxBatch: number): number[] {
  const rows: number[] = []
  for (let size = 1; size < maxBatch; size *= 2) rows.push(size)
  return [...rows, maxBatch]
}

/**
 * Times what serving one batch after the other consists of: preparing observations, and both calls of the engine as the
 * server waits for them. `observation` stands in every row; default: as cameras give it.
 */
export async function measureBatches(
  policy: Policy,
  runtime: Runtime,
  { steps, rounds, onRound }: Measuring,
  observation?: Observation,
): Promise<Batches> {
  const seen = observation ?? (await photographed(policy))
  const prepare: number[] = []
  const batches: BatchTimes[] = []
  for (const rows of sizes(runtime.info.maxBatch)) {
    const [vision, prefix, denoise]: [number[], number[], number[]] = [[], [], []]
    for (let round = -WARM_UP; round < rounds; round += 1) {
      const start = performance.now()
      const first = await policy.prepare(seen)
      const prepared = performance.now()
      const batch = [first]
      while (batch.length < rows) batch.push(await policy.prepare(seen))
      const asked = performance.now()
      const held = await runtime.perceive(batch.map(({ row }) => row))
      const perceived = performance.now()
      const sampling = batch.map((_, row) => ({ steps, noise: row }))
      await runtime.act([held], sampling)
      const acted = performance.now()
      held.release()
      onRound(Math.max(0, round + 1))
      if (round < 0) continue
      prepare.push(prepared - start)
      vision.push(held.timing.visionMs)
      prefix.push(perceived - asked - held.timing.visionMs)
      denoise.push(acted - perceived)
    }
    batches.push({ rows, vision: timesOf(vision), prefix: timesOf(prefix), denoise: timesOf(denoise) })
  }
  const { lanes, prefixSlots, joins } = runtime.info
  return {
    cores: availableParallelism(),
    lanes,
    prefixSlots,
    joins,
    steps,
    prepare: timesOf(prepare),
    batches,
  }
}

/** Medians in milliseconds. */
export function batchTable({ steps, batches }: Batches): string {
  const rows = batches.map(({ rows, ...stages }) => {
    const parts = [stages.vision, stages.prefix, stages.denoise].map(times => quantile(times, 0.5))
    const whole = parts.reduce((sum, part) => sum + part, 0)
    return [rows, ...[...parts, whole].map(ms => ms.toFixed(2)), ((1000 * rows) / whole).toFixed(1)].map(
      String,
    )
  })
  return alignedTable(['rows', 'vision', 'prefix', `${steps} denoise steps`, 'whole', 'observations/s'], rows)
}
