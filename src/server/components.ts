import { isDeepStrictEqual } from 'node:util'

type Node = Record<string, unknown>

/** A schema of components, and the references to it. */
interface Component {
  name: string
  schema: Node
  references: Node[]
}

/** Keywords whose values are data, not schemas. */
const DATA = new Set(['const', 'default', 'enum', 'example', 'examples'])

/**
 * An OpenAPI document in which every schema with a `title` stands in components, under that name, and is referred to from its
 * places. What comes with the same title and other contents, as the observations of two policies do, is `Observation.2`.
 * The schemas of the routes, from which their checks are compiled, are not touched.
 */
export function withComponents(document: Node): Node {
  const found = new Map<string, Component[]>()
  const paths = moved(document['paths'], found)
  const components = [...found.values()].flat().sort((one, other) => (one.name < other.name ? -1 : 1))
  for (const component of components) describe(component)
  const schemas = Object.fromEntries(components.map(({ name, schema }) => [name, schema]))
  return { ...document, components: { ...(document['components'] as Node), schemas }, paths }
}

function moved(value: unknown, found: Map<string, Component[]>, keywords = true): unknown {
  if (Array.isArray(value)) return value.map(item => moved(item, found))
  if (typeof value !== 'object' || value === null) return value
  const node = simplified(
    Object.fromEntries(
      Object.entries(value).map(([key, part]) => [
        key,
        keywords && DATA.has(key) ? part : moved(part, found, key !== 'properties'),
      ]),
    ),
  )
  const { title, description, ...schema } = node
  if (typeof title !== 'string') return node
  const reference: Node = { $ref: '', ...(description !== undefined && { description }) }
  const alike = found.get(title) ?? []
  found.set(title, alike)
  let component = alike.find(other => isDeepStrictEqual(other.schema, schema))
  if (!component) {
    const name = alike.length === 0 ? title : `${title}.${alike.length + 1}`
    alike.push((component = { name, schema, references: [] }))
  }
  reference['$ref'] = `#/components/schemas/${component.name}`
  component.references.push(reference)
  return reference
}

/** A description that is the same in every place is the component's; others stay beside their references. */
function describe({ schema, references }: Component): void {
  const [first, ...others] = references.map(({ description }) => description)
  if (first === undefined || others.some(other => other !== first)) return
  schema['description'] = first
  for (const reference of references) delete reference['description']
}

/** The forms of a choice that generators of clients know best. */
function simplified(node: Node): Node {
  const { anyOf, ...rest } = node
  if (!Array.isArray(anyOf)) return sized(bytesAsText(node))
  const forms = (anyOf as Node[]).filter(({ type }) => type !== 'null')
  const orNull = forms.length < anyOf.length
  const nulled = ({ type, enum: names, ...form }: Node) => ({
    ...form,
    type: orNull ? [type, 'null'] : type,
    ...(Array.isArray(names) && { enum: orNull ? [...names, null] : names }),
    ...rest,
  })
  if (forms.every(form => typeof form['const'] === 'string'))
    return nulled({ type: 'string', enum: forms.map(form => form['const']) })
  if (orNull && forms.length === 1 && typeof forms[0]!['type'] === 'string') return nulled(forms[0]!)
  const choice = withoutTwins(forms).map(rowsInWords)
  // Forms of different types exclude each other, which TypeScript's generator needs to be told.
  const types = new Set(choice.map(({ $ref, type }) => ($ref ? 'object' : type)))
  return {
    ...rest,
    [types.size === choice.length ? 'oneOf' : 'anyOf']: orNull ? [...choice, { type: 'null' }] : choice,
  }
}

/** OpenAPI has no bytes within an object, and generators write files for them: what is bytes is said in words. */
function bytesAsText({ contentMediaType, ...node }: Node): Node {
  return contentMediaType === undefined ? node : { type: 'string', ...node }
}

/** Without a word about it, generators take an integer to have 32 bits and a sign. */
const sized = (node: Node): Node =>
  node['type'] === 'integer' && Number(node['maximum']) > 0x7fffffff ? { ...node, format: 'int64' } : node

/** Text and its bytes are one type to a generator, which would write it twice. */
const withoutTwins = (forms: Node[]): Node[] =>
  forms.filter(({ type }, i) => type !== 'string' || forms.findIndex(other => other['type'] === type) === i)

/** Java's generator writes what does not compile for a choice with a list of lists: its rows are described in words. */
function rowsInWords(form: Node): Node {
  const { type, minItems } = (form['items'] ?? {}) as Node
  return type === 'array' ? { ...form, items: { description: `a list of ${minItems} numbers` } } : form
}
