import { parseArgs } from 'node:util'
import { TurboPiError } from '../errors.js'
import { flagOf, type Options } from './kinds.js'
import { didYouMean, ended } from './suggestion.js'

export interface Arguments {
  /** Texts of the options that were given, by their names, in order. */
  texts: ReadonlyMap<string, readonly string[]>
  positionals: readonly string[]
}

/** A text that may follow an option as its value: a number below zero is one. */
const isValue = (text: string) => !text.startsWith('-') || text === '-' || /^-\.?\d/.test(text)

/**
 * Takes a command line apart: `--flag value`, `--flag=value`, `--switch`, `--no-switch`, and `--` before arguments that begin
 * with a dash. `elsewhere` says whose option one is that this command has not; `more`, where to read on, if not in its help.
 * Throws CONFIG_INVALID.
 */
export function readArguments(
  argv: readonly string[],
  options: Options,
  command: string,
  elsewhere: (flag: string) => string | undefined = () => undefined,
  more?: string,
): Arguments {
  const names = new Map(Object.keys(options).map(name => [flagOf(name), name]))
  const isSwitch = (flag: string) => names.has(flag) && options[names.get(flag)!]!.takes === undefined
  const { tokens } = parseArgs({
    args: [...argv],
    options: Object.fromEntries(
      [...names.keys()].map(flag => [flag, { type: isSwitch(flag) ? 'boolean' : 'string' } as const]),
    ),
    strict: false,
    tokens: true,
  })
  const texts = new Map<string, string[]>()
  const positionals: string[] = []
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value)
    if (token.kind !== 'option') continue
    const { name: flag, rawName, value, inlineValue } = token
    const negated = flag.startsWith('no-') && isSwitch(flag.slice(3)) ? flag.slice(3) : undefined
    const name = names.get(negated ?? flag)
    if (name === undefined || !rawName.startsWith('--'))
      throw usage(command, elsewhere(flag) ?? unknown(command, rawName, names.keys()), more)
    const text = isSwitch(negated ?? flag) ? (value ?? String(negated === undefined)) : value
    if (text === undefined || (!inlineValue && value !== undefined && !isValue(value)))
      throw usage(
        command,
        `${rawName} has no value: it takes ${options[name]!.takes}${value === undefined ? '' : `; write ${rawName}=${value} if ${value} is meant`}.`,
        more,
      )
    texts.set(name, [...(texts.get(name) ?? []), text])
  }
  return { texts, positionals }
}

/** An error that ends with where to read on. */
export const usage = (command: string, detail: string, more = `See turbo-pi help ${command}.`) =>
  new TurboPiError('CONFIG_INVALID', `${detail} ${more}`)

const unknown = (command: string, given: string, flags: Iterable<string>) =>
  ended(
    `${command} has no option ${given}${didYouMean(
      given,
      [...flags].map(flag => `--${flag}`),
    )}`,
  )
