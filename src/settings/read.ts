import { reasonOf, TurboPiError } from '../errors.js'
import { type Arguments, readArguments } from './arguments.js'
import { readSettingsFile } from './file.js'
import { flagOf, type Options, type Setting, type Values } from './kinds.js'

/** A setting of the server, or an option of one command, which has no variable. */
type Option = Setting<unknown> & { readonly env?: string }

/** Where a value was found, as messages call it, and its texts. */
interface Found {
  place: string
  texts: readonly string[]
}

export interface ReadOptions {
  /** Of the command, for messages. */
  command: string
  env: NodeJS.ProcessEnv
  /** All settings, which a file may have; those that the command does not take are passed over. */
  settings: Options
  /** Whose option one is that the command has not. */
  elsewhere?: (flag: string) => string | undefined
  /** Where to read on, if not in the command's help. */
  more?: string
}

export interface Read<O extends Options> {
  values: Values<O>
  positionals: readonly string[]
  /** Names of the options of the command line. */
  given: ReadonlySet<string>
}

/** Reads every option: of the command line, else the environment, else the file of settings, else its default. Throws CONFIG_INVALID. */
export function readOptions<const O extends Options>(
  argv: readonly string[],
  options: O,
  { command, env, settings, elsewhere, more }: ReadOptions,
): Read<O> {
  const given = readArguments(argv, options, command, elsewhere, more)
  const path =
    options['configFile'] && outsideFiles('configFile', options['configFile'], given, env)?.texts.at(-1)
  const file = path ? { path, texts: readSettingsFile(path, settings) } : undefined
  const values = Object.entries(options).map(([name, option]) => {
    const texts = file?.texts.get(name)
    const found =
      outsideFiles(name, option, given, env) ??
      (texts && { place: `${flagOf(name)} in ${file!.path}`, texts })
    return [name, found ? parsed(found, option) : option.default]
  })
  return {
    values: Object.fromEntries(values) as Values<O>,
    positionals: given.positionals,
    given: new Set(given.texts.keys()),
  }
}

function outsideFiles(
  name: string,
  { env: variable }: Option,
  { texts }: Arguments,
  env: NodeJS.ProcessEnv,
): Found | undefined {
  const given = texts.get(name)
  if (given) return { place: `--${flagOf(name)}`, texts: given }
  const value = variable && env[variable]
  // Compose passes a variable that is not set as an empty one.
  return value ? { place: variable, texts: [value] } : undefined
}

function parsed({ place, texts }: Found, { multiple, separator = ',', parse }: Option): unknown {
  const text = multiple ? texts.join(separator) : texts.at(-1)!
  try {
    return parse(text)
  } catch (error) {
    throw new TurboPiError(
      'CONFIG_INVALID',
      `${place} takes ${reasonOf(error)}, got ${JSON.stringify(text)}.`,
    )
  }
}
