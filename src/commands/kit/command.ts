import { type Config, defaultConfig, SETTINGS } from '../../config.js'
import { usage } from '../../settings/arguments.js'
import { flagOf, type Options, type Values } from '../../settings/kinds.js'
import { readOptions } from '../../settings/read.js'
import type { Description } from './description.js'
import { commandHelp } from './help.js'

/** What a command was called with. */
export interface Call<O extends Options = Record<never, never>> {
  own: Values<O>
  /** The server's settings; what the command does not take is as nobody says anything. */
  config: Config
  positionals: readonly string[]
  /** Names of the options on the command line. */
  given: ReadonlySet<string>
}

export interface Command extends Description {
  /** Resolves with the exit code. Throws CONFIG_INVALID for a command line that it does not take. */
  run(argv: readonly string[]): Promise<number>
  /** Its text of help, `width` columns wide. */
  help(width?: number): string
}

/** A row of the table of commands (table.ts). */
export interface CommandRow {
  /** Heading of the list of commands. */
  group: string
  /** One line, for that list. */
  summary: string
  load(): Promise<{ command: Command }>
}

/** Reads the command line of a command as its description says. */
export function read<O extends Options>(description: Description<O>, argv: readonly string[]): Call<O> {
  const { name, options, settings, positionals: takes = NO_ARGUMENTS } = description
  const table: Options = { ...settings, ...options }
  const { values, positionals, given } = readOptions(argv, table, {
    command: name,
    env: process.env,
    settings: SETTINGS,
    elsewhere: flag => elsewhere(name, flag),
  })
  if (positionals.length < takes.least || positionals.length > takes.most)
    throw usage(name, `${name} takes ${takes.what}, got ${positionals.join(' ') || 'none'}.`)
  const own = Object.keys(options)
  const part = (inside: boolean) =>
    Object.fromEntries(Object.entries(values).filter(([key]) => own.includes(key) === inside))
  return {
    own: part(true) as Values<O>,
    config: { ...defaultConfig(), ...part(false) },
    positionals,
    given,
  }
}

const NO_ARGUMENTS = { least: 0, most: 0, what: 'no arguments besides options' }

const elsewhere = (command: string, flag: string) =>
  Object.keys(SETTINGS).some(name => flagOf(name) === flag)
    ? `${command} has no option --${flag}: that is one of turbo-pi serve.`
    : undefined

/** A command of a description and what it does. */
export const command = <const O extends Options>(
  description: Description<O>,
  execute: (call: Call<O>) => Promise<number>,
): Command => ({
  ...description,
  run: async argv => execute(read(description, argv)),
  help: width => commandHelp(description, width),
})

/** Options that mean nothing to what the command is to do. Throws CONFIG_INVALID that names one that was given. */
export function refuse(
  command: string,
  what: string,
  given: ReadonlySet<string>,
  options: readonly string[],
): void {
  const one = options.find(option => given.has(option))
  if (one !== undefined) throw usage(command, `${what} does not take --${flagOf(one)}.`)
}
