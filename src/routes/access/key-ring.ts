import { timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type Static, Type } from 'typebox'
import { compileCheck } from '../../contract/validate.js'
import { reasonOf, TurboPiError } from '../../errors.js'
import { digestOf, Key, type KeyEntry } from './key.js'

const KeyFile = Type.Array(
  Type.Object(
    {
      name: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' }),
      key: Type.String({ minLength: 1 }),
      requests_per_second: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
      in_flight: Type.Optional(Type.Integer({ minimum: 1 })),
      swap: Type.Optional(Type.Boolean()),
    },
    { additionalProperties: false },
  ),
  { minItems: 1 },
)
const checkKeyFile = compileCheck(KeyFile, 'CONFIG_INVALID')

const MAX_FILE_BYTES = 2 ** 20

/** Where the keys of a server come from. */
export interface KeySource {
  /** One key without limits, whose holder may exchange policies. */
  apiKey?: string | undefined
  /** A JSON file of keys. */
  apiKeys?: string | undefined
}

/** The keys that are valid now. */
export class KeyRing {
  readonly #source: KeySource
  #keys: readonly Key[] = []

  /** Throws CONFIG_INVALID, naming the file and what is wrong in it. */
  constructor(source: KeySource) {
    this.#source = source
    this.reload()
  }

  /** The key with these bytes. Takes as long whichever it is, or none. */
  find(given: string): Key | undefined {
    const digest = digestOf(given)
    let found: Key | undefined
    for (const key of this.#keys) if (timingSafeEqual(key.digest, digest)) found = key
    return found
  }

  has(key: Key): boolean {
    return this.#keys.includes(key)
  }

  /** Reads the file again. Keys that are gone end their connections; when it is not valid all stays as it was. */
  reload(): void {
    const entries = entriesOf(this.#source)
    const before = this.#keys
    this.#keys = entries.map(entry => {
      const digest = digestOf(entry.key)
      const known = before.find(({ name, digest: other }) => name === entry.name && other.equals(digest))
      known?.become(entry)
      return known ?? new Key(entry)
    })
    for (const key of before) if (!this.#keys.includes(key)) key.revoke()
  }
}

function entriesOf({ apiKey, apiKeys }: KeySource): KeyEntry[] {
  const entries: KeyEntry[] = apiKey === undefined ? [] : [{ name: 'default', key: apiKey, swap: true }]
  if (apiKeys !== undefined) entries.push(...readKeys(apiKeys))
  const where = apiKeys ?? 'TURBO_PI_API_KEY'
  for (const { name, key } of entries) {
    if (!/^[\x21-\x7e]+$/.test(key))
      throw refuse(
        `${where}: the key ${name} cannot be sent in a header: it may have visible ASCII characters alone, no spaces or line breaks. Take what "openssl rand -hex 32" prints, without its line break.`,
      )
    if (entries.filter(other => other.name === name).length > 1)
      throw refuse(`${where}: two keys are called ${name}; give each a name of its own.`)
    if (entries.filter(other => other.key === key).length > 1)
      throw refuse(`${where}: the key ${name} stands there twice; give each holder a key of its own.`)
  }
  return entries
}

function readKeys(file: string): KeyEntry[] {
  let value: unknown
  try {
    const text = readFileSync(file, 'utf8')
    if (text.length > MAX_FILE_BYTES) throw new Error(`it has more than ${MAX_FILE_BYTES} bytes`)
    value = JSON.parse(text)
    checkKeyFile(value)
  } catch (error) {
    // Parsers quote what they could not read: here that may be a key.
    const reason = error instanceof SyntaxError ? 'it is not JSON' : reasonOf(error)
    throw refuse(`${file}: the keys cannot be read: ${reason}. It has to be a JSON list of {"name", "key"}.`)
  }
  return (value as Static<typeof KeyFile>).map(({ name, key, requests_per_second, in_flight, swap }) => ({
    name,
    key,
    ...(requests_per_second !== undefined && { requestsPerSecond: requests_per_second }),
    ...(in_flight !== undefined && { inFlight: in_flight }),
    ...(swap !== undefined && { swap }),
  }))
}

const refuse = (detail: string) => new TurboPiError('CONFIG_INVALID', detail)
