import { type ParseArgsConfig, parseArgs } from 'node:util'
import { reasonOf, TurboPiError } from '../../errors.js'
import { oneOf, wholeNumber } from '../../setting.js'

/** One option of a command: what it is without being given, and how its text is read. */
export interface Option<T> {
  type: 'string' | 'boolean'
  multiple?: true
  otherwise: T
  /** Throws an Error that says what the option takes. */
  parse(text: string): T
}

export function text(): Option<string | undefined>
export function text(otherwise: string): Option<string>
export function text(otherwise?: string): Option<string | undefined> {
  return { type: 'string', otherwise, parse: given => given }
}

/** An option that may be given several times. */
export const texts = (): Option<readonly string[]> => ({
  type: 'string',
  multiple: true,
  otherwise: [],
  parse: given => [given],
})

export const flag = (): Option<boolean> => ({ type: 'boolean', otherwise: false, parse: () => true })

export const integer = (otherwise: number, min: number, max: number): Option<number> => ({
  type: 'string',
  otherwise,
  parse: given => wholeNumber(given, min, max),
})

/** Integers with commas between them. */
export const integers = (
  otherwise: readonly number[],
  min: number,
  max: number,
): Option<readonly number[]> => ({
  type: 'string',
  otherwise,
  parse: given => given.split(',').map(one => wholeNumber(one, min, max)),
})

/** A number from `min` to `max`; both may be given. */
export const number = (otherwise: number, min: number, max: number): Option<number> => ({
  type: 'string',
  otherwise,
  parse: given => {
    const value = Number(given)
    if (given.trim() === '' || !(value >= min && value <= max))
      throw new Error(`a number from ${min} to ${max}`)
    return value
  },
})

/** A number above zero, or nothing. */
export const positive = (): Option<number | undefined> => ({
  type: 'string',
  otherwise: undefined,
  parse: given => {
    if (!(Number(given) > 0)) throw new Error('a positive number')
    return Number(given)
  },
})

export const choice = <const T extends string>(otherwise: T, choices: readonly T[]): Option<T> => ({
  type: 'string',
  otherwise,
  parse: given => oneOf(given, choices),
})

type Options = Readonly<Record<string, Option<unknown>>>
type Values<O extends Options> = { [K in keyof O]: O[K] extends Option<infer T> ? T : never }

/**
 * A command's own options, taken out of `argv`; `rest` is for `loadConfig`, which refuses what it does not know. `given` are
 * the names of all options there, own and others. Throws CONFIG_INVALID.
 */
export function takeOptions<const O extends Options>(
  argv: readonly string[],
  options: O,
): { own: Values<O>; rest: string[]; given: ReadonlySet<string> } {
  const { values, tokens } = parseArgs({
    args: [...argv],
    options: options as NonNullable<ParseArgsConfig['options']>,
    strict: false,
    tokens: true,
  })
  const given = new Set<string>()
  const used = new Set<number>()
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    given.add(token.name)
    if (!Object.hasOwn(options, token.name)) continue
    used.add(token.index)
    if (token.value !== undefined && !token.inlineValue) used.add(token.index + 1)
  }
  return {
    own: readAll(values, options),
    rest: argv.filter((_, index) => !used.has(index)),
    given,
  }
}

/** The options of a command that has no others, and its other arguments. Throws CONFIG_INVALID with the command's `help`. */
export function readOptions<const O extends Options>(
  argv: readonly string[],
  options: O,
  help: string,
  { allowPositionals = false } = {},
): { own: Values<O>; positionals: string[] } {
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      options: options as NonNullable<ParseArgsConfig['options']>,
      allowPositionals,
    })
    return { own: readAll(values, options), positionals }
  } catch (error) {
    throw new TurboPiError('CONFIG_INVALID', `${reasonOf(error)}\n\n${help}`)
  }
}

function readAll<O extends Options>(values: Readonly<Record<string, unknown>>, options: O): Values<O> {
  const read = Object.entries(options).map(([name, option]) => [name, readOne(name, option, values[name])])
  return Object.fromEntries(read) as Values<O>
}

function readOne<T>(name: string, option: Option<T>, given: unknown): T {
  if (given === undefined) return option.otherwise
  // An option without the value that it needs comes as `true`.
  if (option.type === 'string' && given === true)
    throw new TurboPiError('CONFIG_INVALID', `--${name} has no value.`)
  try {
    if (Array.isArray(given)) return given.flatMap(one => option.parse(one)) as T
    return option.parse(String(given))
  } catch (error) {
    throw new TurboPiError(
      'CONFIG_INVALID',
      `--${name} takes ${reasonOf(error)}, got ${JSON.stringify(given)}.`,
    )
  }
}
