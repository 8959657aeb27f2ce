import type { TSchema } from 'typebox'
import { Document, type Pair, type Scalar, type YAMLMap } from 'yaml'
import { markdownTable } from '../../src/commands/kit/table.js'
import { flagOf } from '../../src/config.js'
import { README } from './readme.js'
import { defaultsOf, SETTINGS_OF_THE_CHART, VALUES } from './values.js'

const CHART = 'deploy/helm/turbo-pi'

/** Files of the chart that are made of its table of values. */
export const chartFiles = (): Record<string, string> => ({
  [`${CHART}/values.yaml`]: valuesYaml(),
  [`${CHART}/values.schema.json`]: `${JSON.stringify(valuesSchema(), null, 2)}\n`,
  [`${CHART}/README.md`]: readme(),
})

/** Helm gives every chart `global`. */
function valuesSchema(): object {
  const { properties, ...rest } = allOptional(VALUES) as { properties?: object }
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    ...rest,
    properties: { ...properties, global: { type: 'object' } },
  }
}

/** Values that are left out are those of values.yaml: of what the chart has by default, nothing is required. */
function allOptional(schema: TSchema): object {
  if (!isGroup(schema)) return schema
  const { required: _, ...rest } = schema as TSchema & { required?: string[] }
  const properties = propertiesOf(schema).map(([name, value]) => [name, allOptional(value)])
  return { ...rest, properties: Object.fromEntries(properties) }
}

/** Groups have properties and no default of their own. */
const isGroup = (schema: TSchema) => 'properties' in schema && !('default' in schema)
const propertiesOf = (schema: TSchema) =>
  Object.entries((schema as { properties: Record<string, TSchema> }).properties)
const descriptionOf = (schema: TSchema) => (schema as { description?: string }).description ?? ''

function valuesYaml(): string {
  const document = new Document(defaultsOf(VALUES))
  document.commentBefore =
    ' Written by `npm run generate` of tools/helm/values.ts, with values.schema.json and README.md.'
  comment(document.contents as unknown as YAMLMap, VALUES, true)
  return document.toString({ lineWidth: 0 })
}

function comment(map: YAMLMap, schema: TSchema, outermost = false): void {
  for (const [index, [, value]] of propertiesOf(schema).entries()) {
    const pair = map.items[index] as Pair<Scalar, unknown>
    pair.key.commentBefore = wrapped(descriptionOf(value))
    if (outermost && index > 0) pair.key.spaceBefore = true
    if (isGroup(value)) comment(pair.value as YAMLMap, value)
  }
}

const wrapped = (text: string) =>
  text.replaceAll(/(.{1,110})(?:\s+|$)/g, (_, line: string) => ` ${line}\n`).replace(/\n$/, '')

function readme(): string {
  const rows = rowsOf(VALUES, '')
  const owned = Object.entries(SETTINGS_OF_THE_CHART).map(([name, by]) => [`\`${flagOf(name)}\``, by])
  return `${README}
## Values

${markdownTable(['value', 'default', 'meaning'], rows)}

## Settings that are no values

${markdownTable(['setting', 'given by'], owned)}
`
}

function rowsOf(schema: TSchema, prefix: string): string[][] {
  return propertiesOf(schema).flatMap(([name, value]) => {
    const path = `${prefix}${name}`
    const meaning = descriptionOf(value).replaceAll('|', '\\|')
    if (isGroup(value)) return [[`\`${path}\``, '', meaning], ...rowsOf(value, `${path}.`)]
    const choices = (value as { enum?: string[] }).enum
    return [
      [
        `\`${path}\``,
        `\`${JSON.stringify(defaultsOf(value)).replaceAll('|', '\\|')}\``,
        choices ? `${meaning}: ${choices.join(', ')}` : meaning,
      ],
    ]
  })
}
