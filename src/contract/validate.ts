import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { type ErrorCode, type FieldError, TurboPiError } from '../errors.js'
import { SHOWN, shown, shownNames } from './limits.js'
import { NdArray } from './numpy.js'

interface SchemaError {
  keyword: string
  instancePath: string
  schemaPath: string
  params: Record<string, unknown>
  message: string
}

/** RFC 6901: `~` and `/` inside a key are escaped. */
export const pointerTo = (...keys: (string | number)[]): string =>
  keys.map(key => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')

/** Throws a TurboPiError that names every wrong field; returns when the value fits. */
export type Check = (value: unknown) => void

/** Compiles a schema once; nothing is coerced, defaulted or dropped. */
export function compileCheck(schema: TSchema, code: ErrorCode = 'OBSERVATION_INVALID'): Check {
  const validator = Compile(schema)
  return value => {
    if (validator.Check(value)) return
    // As much of the value as its schema has words for: explaining costs what is explained, not what was sent.
    const found = validator.Errors(trimmed(value, schema as SchemaNode))
    const errors = (found.length > 0 ? found : validator.Errors(value)) as SchemaError[]
    const fields = fieldErrors(errors, schema, value)
    throw new TurboPiError(
      fields.every(field => field.pointer.startsWith('/options')) ? 'OPTIONS_INVALID' : code,
      fields.map(field => `${field.pointer || '(body)'} ${field.detail}`).join('; '),
      { fields },
    )
  }
}

/** Wrong fields that one refusal names. */
const MOST_FIELDS = 16

function fieldErrors(errors: SchemaError[], schema: TSchema, value: unknown): FieldError[] {
  const unions = errors.filter(error => error.keyword === 'anyOf').map(error => error.instancePath)
  const fields = new Map<string, string>()
  const add = (pointer: string, detail: string) => {
    if (!fields.has(pointer) && fields.size < MOST_FIELDS) fields.set(pointer, detail)
  }
  for (const error of errors) {
    const path = error.instancePath
    if (error.keyword === 'boolean') continue
    if (error.keyword === 'required')
      for (const key of error.params['requiredProperties'] as string[]) {
        if (!inUnion(path, unions)) add(path + pointerTo(key), 'is required and missing')
      }
    else if (error.keyword === 'additionalProperties')
      for (const key of (error.params['additionalProperties'] as string[]).slice(0, MOST_FIELDS)) {
        if (!inUnion(path, unions))
          add(path + pointerTo(shown(key)), `is not a key of this observation${known(schema, path)}`)
      }
    else if (error.keyword === 'anyOf')
      add(path, `takes ${describe(schema, path)}, got ${kindOf(valueAt(value, path))}`)
    else if (!inUnion(path, unions)) add(path, `${error.message}, got ${kindOf(valueAt(value, path))}`)
  }
  return [...fields].map(([pointer, detail]) => ({ pointer, detail }))
}

/** A union reports every branch; only its own summary is of use to a reader. */
const inUnion = (path: string, unions: string[]) =>
  unions.some(union => path === union || path.startsWith(`${union}/`))

const keysOf = (path: string) =>
  path
    .split('/')
    .slice(1)
    .map(key => key.replaceAll('~1', '/').replaceAll('~0', '~'))

interface SchemaNode {
  description?: string
  properties?: Record<string, SchemaNode>
  items?: SchemaNode
  anyOf?: SchemaNode[]
  maxItems?: number
}

/** Items and unknown keys that are left of a value where its schema says no number. */
const KEPT = 8

/** The value without what lies beyond its schema: it fails in the same places, with the same words. */
function trimmed(value: unknown, schema: SchemaNode): unknown {
  const forms = schema.anyOf ?? [schema]
  // Of what is not described, only its kind counts.
  if (!forms.some(({ items, properties }) => items ?? properties))
    return Array.isArray(value) ? [] : isPlain(value) ? {} : value
  if (Array.isArray(value)) {
    const most = Math.max(...forms.map(({ items, maxItems = KEPT }) => (items ? maxItems : 0)))
    const items = forms.find(form => form.items)?.items ?? {}
    return value.slice(0, most + 1).map(item => trimmed(item, items))
  }
  if (!isPlain(value)) return value
  const known = forms.map(({ properties = {} }) => properties)
  const of = (key: string) => known.find(properties => Object.hasOwn(properties, key))?.[key]
  const kept: Record<string, unknown> = {}
  let unknown = 0
  for (const key in value) {
    const property = of(key)
    if (property) kept[key] = trimmed(value[key], property)
    else if (Object.hasOwn(value, key) && unknown++ < KEPT)
      Object.defineProperty(kept, key.slice(0, SHOWN + 1), {
        value: trimmed(value[key], {}),
        enumerable: true,
        // Two long keys may begin alike.
        configurable: true,
      })
  }
  return kept
}

/** An object of either wire, or one without a prototype; arrays of NumPy and bytes are none. */
const isPlain = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !ArrayBuffer.isView(value) && !(value instanceof NdArray)

function schemaAt(schema: TSchema, path: string): SchemaNode | undefined {
  let node: SchemaNode | undefined = schema as SchemaNode
  for (const key of keysOf(path)) node = node?.properties?.[key] ?? node?.items
  return node
}

const describe = (schema: TSchema, path: string) =>
  schemaAt(schema, path)?.description ?? 'one of the accepted forms'

function known(schema: TSchema, path: string): string {
  const names = Object.keys(schemaAt(schema, path)?.properties ?? {})
  return names.length > 0 ? ` (it takes ${names.join(', ')})` : ''
}

function valueAt(value: unknown, path: string): unknown {
  let node = value
  for (const key of keysOf(path)) node = (node as Record<string, unknown> | undefined)?.[key]
  return node
}

/** What came, for an error's words. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (typeof value === 'number') return `${value}`
  if (typeof value === 'string')
    return value.length > 40 ? `a string of ${value.length} characters` : JSON.stringify(value)
  if (value instanceof Uint8Array) return `${value.byteLength} bytes`
  return typeof value === 'object'
    ? `an object with ${shownNames(Object.keys(value)) || 'no keys'}`
    : typeof value
}
