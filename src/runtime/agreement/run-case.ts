import type { Sampling } from '../../families/pi0/sampling.js'
import type { ActResult, InferenceTrace, PerceiveRow, Runtime } from '../runtime.js'

/** One batch of the network's inputs, for comparing what an engine makes of it. */
export interface NetworkCase {
  name: string
  rows: readonly PerceiveRow[]
  /** How chunks are drawn from its prefix, each time a sampling a row. */
  runs: readonly (readonly Sampling[])[]
  /** The tensors between are asked for, too. */
  traced?: boolean
}

/** What an engine gave for one run of a case; the tensors between where the case is traced. */
export type CaseTensors = Pick<ActResult, 'actions'> & Partial<InferenceTrace>

/** Runs a case: its prefix once, and from it each of its runs. */
export async function runCase(runtime: Runtime, { rows, runs, traced }: NetworkCase): Promise<CaseTensors[]> {
  const results: CaseTensors[] = []
  if (traced) {
    for (const sampling of runs) results.push(await runtime.trace(rows, sampling))
    return results
  }
  const prefix = await runtime.perceive(rows)
  try {
    for (const sampling of runs) results.push(await runtime.act([prefix], sampling))
    return results
  } finally {
    prefix.release()
  }
}
