import type { Options } from '../../settings/kinds.js'

type Offers = NonNullable<Options[string]['offers']>

/** A command as completion knows it. */
export interface CompletedCommand {
  name: string
  summary: string
  /** What a shell offers for its arguments. */
  offers?: Offers
  options: readonly CompletedOption[]
}

export interface CompletedOption {
  flag: string
  meaning: string
  /** Absent: a switch. */
  takes: string | undefined
  offers: Offers | undefined
}

/** A text within single quotes of a POSIX shell. */
export const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`
