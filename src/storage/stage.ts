/** What the start of a runtime is at, as logs, terminals and /readyz show it. */
export type StageName =
  | 'reading the checkpoint'
  | 'checking the lowered weights'
  | 'lowering the weights'
  | 'building the engines'
  | 'comparing the engines with the CPU'
  | 'opening the engine'
  | 'self-test'

export interface Stage {
  name: StageName
  /** What of it: an engine and its phase. */
  detail?: string
  /** How much is done, in a unit of its own; both or neither. */
  done?: number
  total?: number
  /** That the numbers are bytes. */
  bytes?: true
}

export type OnStage = (stage: Stage) => void

/** In whole percent, rounded down; undefined where it is not known. */
export const percentOf = ({ done, total }: Stage): number | undefined =>
  done === undefined || !total ? undefined : Math.floor((100 * done) / total)
