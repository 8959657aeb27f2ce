/** One setting of the server: its flag, its environment variable and its text are read alike. */
export interface Setting<T> {
  /** Environment variable; the flag wins over it. */
  env: string
  default: T
  /** Shown by --help and in docs/reference/config.md. */
  meaning: string
  parse(text: string): T
  /** The flag may be given several times; `parse` gets all texts, separated by commas as in the environment variable. */
  multiple?: true
}

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

export const text = (env: string, fallback: string, meaning: string): Setting<string> => ({
  env,
  default: fallback,
  meaning,
  parse: value => value,
})

export const optionalText = (
  env: string,
  meaning: string,
  parse = (value: string) => value,
): Setting<string | undefined> => ({ env, default: undefined, meaning, parse })

/** Several values, separated by commas or given one by one; `parse` throws an Error that says what they are. */
export const list = (
  env: string,
  meaning: string,
  parse: (value: string) => string,
): Setting<readonly string[]> => ({
  env,
  default: [],
  meaning,
  multiple: true,
  parse: values =>
    values
      .split(',')
      .map(value => value.trim())
      .filter(Boolean)
      .map(parse),
})

export const choice = <const T extends string>(
  env: string,
  fallback: T,
  choices: readonly T[],
  meaning: string,
): Setting<T> => ({
  env,
  default: fallback,
  meaning: `${meaning} (${choices.join(', ')})`,
  parse: value => oneOf(value, choices),
})

export const integer = (
  env: string,
  fallback: number,
  min: number,
  max: number,
  meaning: string,
): Setting<number> => ({
  env,
  default: fallback,
  meaning,
  parse: value => wholeNumber(value, min, max),
})

export const flag = (env: string, meaning: string): Setting<boolean> => ({
  env,
  default: false,
  meaning,
  parse: value => {
    if (!['true', 'false', '1', '0'].includes(value)) throw new Error('true or false')
    return value === 'true' || value === '1'
  },
})
