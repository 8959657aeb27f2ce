import { at, type Field, fieldOf, invalid } from './fields.js'
import type { ObservationSpec } from './observation.js'

type Fields = Readonly<Record<string, unknown>>

/** Forms of an observation that mean the same, brought into the one that is checked. What fits none stays, to be refused. */
export class ObservationForms {
  readonly #fields: readonly Field[]
  readonly #optional: readonly Field[]
  readonly #prompt: ObservationSpec['prompt']
  /** The first names of the policy's keys. */
  readonly roots: ReadonlySet<string>

  constructor({ cameras, state, prompt }: ObservationSpec) {
    this.#fields = [...cameras, ...state, prompt].map(({ key }) => fieldOf(key))
    this.#optional = cameras.filter(camera => !camera.required).map(({ key }) => fieldOf(key))
    this.#prompt = prompt
    this.roots = new Set(this.#fields.map(({ path }) => path[0] as string))
  }

  /** `observation.images.front` as one key stands in `images` of `observation`; the forms of LeRobot's batches. */
  nested(value: unknown): unknown {
    if (!isRecord(value)) return value
    let fields = this.#prompt.lerobotBatch ? this.#task(value) : value
    for (const field of this.#fields)
      if (field.path.length > 1 && Object.hasOwn(fields, field.key)) fields = moved(fields, field)
    return fields
  }

  /** Python's None in the place of a camera that may be missing is a camera that is missing. */
  withoutNulls(value: unknown): unknown {
    if (!isRecord(value)) return value
    return this.#optional.reduce<Fields>(
      (fields, { path }) => (at(fields, path) === null ? without(fields, path) : fields),
      value,
    )
  }

  /** `prompt` means the task, and a list of one string that string. */
  #task(fields: Fields): Fields {
    const { key } = this.#prompt
    if (!Object.hasOwn(fields, key) && !Object.hasOwn(fields, 'prompt')) return fields
    const { prompt, ...rest } = fields
    const task = only(Object.hasOwn(rest, key) ? rest[key] : prompt)
    if (prompt !== undefined && only(prompt) !== task)
      throw invalid('/prompt', `says something else than ${key}; give one of them`)
    return { ...rest, [key]: task }
  }
}

const only = (value: unknown) =>
  Array.isArray(value) && value.length === 1 && typeof value[0] === 'string' ? value[0] : value

/** Without the flat key, and with its value where the key's dots say. */
function moved(fields: Fields, { key, path, pointer }: Field): Fields {
  const { [key]: value, ...rest } = fields
  if (at(rest, path) !== undefined) throw invalid(pointer, `is given twice, the second time as ${key}`)
  return placed(rest, path, value)
}

function placed(fields: Fields, [name, ...deeper]: readonly string[], value: unknown): Fields {
  if (name === undefined) return fields
  if (deeper.length === 0) return { ...fields, [name]: value }
  const inner = fields[name] ?? {}
  return { ...fields, [name]: isRecord(inner) ? placed(inner, deeper, value) : inner }
}

function without(fields: Fields, [name, ...deeper]: readonly string[]): Fields {
  if (name === undefined) return fields
  const { [name]: value, ...rest } = fields
  return deeper.length === 0 ? rest : { ...rest, [name]: without(value as Fields, deeper) }
}

/** A plain object, as both wires give it: neither a list nor an array of NumPy nor bytes. */
const isRecord = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value)
