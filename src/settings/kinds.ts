/** One option of the command line: its flag, its environment variable, its key in a file and its text are read alike. */
export interface Setting<T> {
  readonly default: T
  /** Shown by help and in docs/reference. */
  readonly meaning: string
  /** What stands for its value in help: `N`, `FILE`, a unit, the choices. Absent: a switch, which takes none. */
  readonly takes?: string
  /** Of a number: `ms`, `bytes`; the meaning goes on after it. */
  readonly unit?: string
  /** Range or other bound of what it takes, for people. */
  readonly bounds?: string
  /** Shown as its default where `default` does not tell it. */
  readonly otherwise?: string
  /** JSON schema of its value in a file of settings. */
  readonly schema: Readonly<Record<string, unknown>>
  /** What a shell offers as its value. */
  readonly offers?: 'files' | 'directories' | readonly string[]
  /** May be given several times; `parse` gets all texts, separated by commas as in the environment variable. */
  readonly multiple?: true
  /** Between the texts of one that may be given several times; a comma by default. */
  readonly separator?: string
  /** Throws an Error that says what it takes. */
  parse(text: string): T
}

/** Options by their names; a flag is its name in kebab-case. */
export type Options = Readonly<Record<string, Setting<unknown>>>
export type Values<O extends Options> = {
  -readonly [K in keyof O]: O[K] extends Setting<infer T> ? T : never
}

/** `maxImagePixels` → `max-image-pixels`. */
export const flagOf = (name: string) => name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)

/** `maxImagePixels` → `TURBO_PI_MAX_IMAGE_PIXELS`. */
const variableOf = (name: string) => `TURBO_PI_${flagOf(name).replaceAll('-', '_').toUpperCase()}`

/** Entries of a table by their groups, both in the order of the table. */
export function byGroup<T>(
  table: Readonly<Record<string, T>>,
  groupOf: (row: T) => string,
): Map<string, [name: string, row: T][]> {
  const groups = new Map<string, [string, T][]>()
  for (const entry of Object.entries(table)) {
    const group = groupOf(entry[1])
    groups.set(group, [...(groups.get(group) ?? []), entry])
  }
  return groups
}

type InGroup<O extends Options, Extra> = {
  readonly [K in keyof O]: O[K] & { readonly group: string } & Extra
}

/** Options of one command, under a heading of its help. */
export const grouped = <const O extends Options>(group: string, options: O): InGroup<O, unknown> =>
  Object.fromEntries(
    Object.entries(options).map(([name, option]) => [name, { ...option, group }]),
  ) as InGroup<O, unknown>

/** Settings, which the environment and files give, too, under a heading of all help and of docs/reference/config.md. */
export const settings = <const O extends Options>(
  group: string,
  options: O,
): InGroup<O, { readonly env: string }> =>
  Object.fromEntries(
    Object.entries(options).map(([name, option]) => [name, { env: variableOf(name), ...option, group }]),
  ) as InGroup<O, { readonly env: string }>

/** The choice that `value` is. Throws an Error that names them all. */
export function oneOf<T extends string>(value: string, choices: readonly T[]): T {
  if (!choices.includes(value as T)) throw new Error(`one of ${choices.join(', ')}`)
  return value as T
}

/** Throws an Error that names the range. */
export function wholeNumber(value: string, min: number, max: number): number {
  const number = Number(value)
  if (!Number.isInteger(number) || number < min || number > max || value.trim() === '')
    throw new Error(`an integer from ${min} to ${max}`)
  return number
}

interface Described {
  meaning: string
  takes?: string
  otherwise?: string
  offers?: NonNullable<Setting<unknown>['offers']>
}

const TEXT = { type: 'string' } as const
const TEXTS = { anyOf: [TEXT, { type: 'array', items: TEXT }] } as const

export function text(
  given: Described & { default: string; parse?: (value: string) => string },
): Setting<string>
export function text(
  given: Described & { default?: undefined; parse?: (value: string) => string },
): Setting<string | undefined>
export function text({
  default: fallback,
  parse = value => value,
  ...rest
}: Described & { default?: string | undefined; parse?: (value: string) => string }): Setting<
  string | undefined
> {
  return { takes: 'TEXT', ...rest, default: fallback, schema: TEXT, parse }
}

function notEmpty(value: string): string {
  if (value === '') throw new Error('a path')
  return value
}

/** The path of a file. */
export const file = (given: Described & { parse?: (value: string) => string }) =>
  text({ takes: 'FILE', offers: 'files', parse: notEmpty, ...given })

/** The path of a directory. */
export const directory = (given: Described) =>
  text({ takes: 'DIR', offers: 'directories', parse: notEmpty, ...given })

/** Several values, separated by commas or given one by one; `parse` throws an Error that says what they are. */
export const list = ({
  parse = value => value,
  ...rest
}: Described & { parse?: (value: string) => string }): Setting<readonly string[]> => ({
  takes: 'TEXT,…',
  ...rest,
  default: [],
  multiple: true,
  schema: TEXTS,
  parse: values =>
    values
      .split(',')
      .map(value => value.trim())
      .filter(Boolean)
      .map(parse),
})

/** Several values that may have commas in them: given one by one. */
export const texts = (given: Described): Setting<readonly string[]> => ({
  takes: 'TEXT',
  ...given,
  default: [],
  multiple: true,
  separator: '\0',
  schema: TEXTS,
  parse: values => values.split('\0'),
})

export const choice = <const T extends string>({
  choices,
  ...rest
}: Described & { default: T; choices: readonly T[] }): Setting<T> => ({
  takes: choices.join('|'),
  offers: choices,
  ...rest,
  schema: { enum: choices },
  parse: value => oneOf(value, choices),
})

interface Range {
  min: number
  max: number
  /** `ms`, `bytes`, `%`: stands in help for the value. */
  unit?: string
}

export const integer = ({
  min,
  max,
  unit,
  ...rest
}: Described & Range & { default: number }): Setting<number> => ({
  takes: unit?.toUpperCase() ?? 'N',
  ...(unit && { unit }),
  bounds: `${min}…${max}`,
  ...rest,
  schema: { type: 'integer', minimum: min, maximum: max },
  parse: value => wholeNumber(value, min, max),
})

/** Integers with commas between them. */
export const integers = ({
  min,
  max,
  unit,
  ...rest
}: Described & Range & { default: readonly number[] }): Setting<readonly number[]> => ({
  takes: `${unit?.toUpperCase() ?? 'N'},…`,
  ...(unit && { unit }),
  bounds: `${min}…${max}`,
  ...rest,
  schema: { type: 'array', items: { type: 'integer', minimum: min, maximum: max } },
  parse: values => values.split(',').map(value => wholeNumber(value, min, max)),
})

/** A number from `min` to `max`; both may be given. */
export const number = ({
  min,
  max,
  unit,
  ...rest
}: Described & Range & { default: number }): Setting<number> => ({
  takes: unit?.toUpperCase() ?? 'X',
  ...(unit && { unit }),
  bounds: `${min}…${max}`,
  ...rest,
  schema: { type: 'number', minimum: min, maximum: max },
  parse: value => {
    const given = Number(value)
    if (value.trim() === '' || !(given >= min && given <= max))
      throw new Error(`a number from ${min} to ${max}`)
    return given
  },
})

/** A number above zero, or nothing. */
export const positive = (given: Described): Setting<number | undefined> => ({
  takes: 'X',
  bounds: 'above 0',
  ...given,
  default: undefined,
  schema: { type: 'number', exclusiveMinimum: 0 },
  parse: value => {
    if (!(Number(value) > 0)) throw new Error('a positive number')
    return Number(value)
  },
})

/** `--name` is true and `--no-name` is false. */
export const flag = (given: Pick<Described, 'meaning'>): Setting<boolean> => ({
  ...given,
  default: false,
  schema: { type: 'boolean' },
  parse: value => {
    if (!['true', 'false', '1', '0'].includes(value)) throw new Error('true or false')
    return value === 'true' || value === '1'
  },
})
