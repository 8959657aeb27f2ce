import { readFileSync } from 'node:fs'
import { LineCounter, parseDocument } from 'yaml'
import { reasonOf, TurboPiError } from '../errors.js'
import { flagOf, type Options } from './kinds.js'
import { didYouMean, ended } from './suggestion.js'

/** What `$schema` of a file of settings names. */
export const SETTINGS_SCHEMA_ID = 'urn:turbo-pi:schema:settings:1'

/** What stands in no file of settings: which file it is. */
const NOT_IN_FILES = new Set(['configFile'])

/** Settings of a YAML or JSON file, as the texts that their flags would have. Throws CONFIG_INVALID. */
export function readSettingsFile(path: string, options: Options): ReadonlyMap<string, readonly string[]> {
  const invalid = (detail: string, cause?: unknown) =>
    new TurboPiError('CONFIG_INVALID', `${path}: ${detail}`, { cause })
  const values = parsed(path, invalid)
  const names = new Map(
    Object.keys(options)
      .filter(name => !NOT_IN_FILES.has(name))
      .map(name => [flagOf(name), name]),
  )
  const texts = new Map<string, readonly string[]>()
  for (const [key, value] of Object.entries(values)) {
    if (key === '$schema') continue
    const name = names.get(key)
    if (name === undefined)
      throw invalid(
        `${ended(`there is no setting ${JSON.stringify(key)}${didYouMean(key, names.keys())}`)} The keys are the flags of turbo-pi serve without their dashes.`,
      )
    texts.set(
      name,
      textsOf(value, options[name]!, detail => invalid(`${key} ${detail}`)),
    )
  }
  return texts
}

function parsed(
  path: string,
  invalid: (detail: string, cause?: unknown) => TurboPiError,
): Record<string, unknown> {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw invalid(`the file of settings cannot be read: ${reasonOf(error)}.`, error)
  }
  const document = parseDocument(text, { lineCounter: new LineCounter(), prettyErrors: true })
  const [broken] = document.errors
  if (broken) throw invalid(`it is neither YAML nor JSON: ${broken.message}`, broken)
  const value: unknown = document.toJS()
  if (value === null) return {}
  if (typeof value !== 'object' || Array.isArray(value))
    throw invalid('expected settings by their names, such as "port: 8000".')
  return value as Record<string, unknown>
}

const TYPES: Readonly<Record<string, string>> = {
  string: 'a text',
  integer: 'an integer',
  number: 'a number',
  boolean: 'true or false',
}

/** A value of a file as the texts of its flag. */
function textsOf(
  value: unknown,
  { schema, multiple }: Options[string],
  invalid: (detail: string) => TurboPiError,
): string[] {
  const type = (schema['type'] as string | undefined) ?? 'string'
  const fits = (one: unknown) =>
    type === 'integer' || type === 'number' ? typeof one === 'number' : typeof one === type
  const many = multiple && Array.isArray(value) ? value : [value]
  for (const one of many)
    if (!fits(one))
      throw invalid(
        `takes ${multiple ? 'a text or a list of texts' : TYPES[type]}, got ${JSON.stringify(one)}.`,
      )
  return many.map(String)
}

/** The JSON schema of a file of settings, for editors. */
export const settingsSchema = (options: Options) => ({
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: SETTINGS_SCHEMA_ID,
  title: 'Settings of Turbo-Pi: a file for turbo-pi serve --config-file',
  type: 'object',
  properties: {
    $schema: { type: 'string' },
    ...Object.fromEntries(
      Object.entries(options)
        .filter(([name]) => !NOT_IN_FILES.has(name))
        .map(([name, { schema, meaning, unit, default: value }]) => [
          flagOf(name),
          {
            description: unit ? `${unit} ${meaning}` : meaning,
            ...(value !== undefined && { default: value }),
            ...schema,
          },
        ]),
    ),
  },
  additionalProperties: false,
})
