import type { Options } from '../../settings/kinds.js'

/** What a command takes: help, completion, parsing and documents are all made of this. */
export interface Description<O extends Options = Options> {
  name: string
  /** What may follow its name, a line for each way to call it. */
  forms: readonly string[]
  /** What it does: paragraphs with empty lines between them. */
  about: string
  /** How many arguments it takes besides options, and what they are. */
  positionals?: { least: number; most: number; what: string; offers?: Options[string]['offers'] }
  /** Its own options. */
  options: O
  /** Those of the server's settings that it takes. */
  settings: Options
}
