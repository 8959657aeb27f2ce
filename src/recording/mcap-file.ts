import { closeSync, constants, fdatasyncSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { McapWriter } from '@mcap/core'
import type { Schema } from './channels.js'
import type { FileMessage } from './messages.js'

/** Bytes of messages after which a chunk is written: what a crash loses at most. */
const CHUNK_BYTES = 64 * 1024

/** One MCAP file that is being written, for its owner's eyes. */
export class McapFile {
  readonly path: string
  readonly #schemas: Readonly<Record<string, Schema>>
  readonly #fd: number
  readonly #writer: McapWriter
  readonly #schemaIds = new Map<string, number>()
  readonly #channelIds = new Map<string, number>()
  #bytes = 0

  /** Throws EEXIST for a path that is there, a link as well. */
  constructor(path: string, schemas: Readonly<Record<string, Schema>>) {
    this.path = path
    this.#schemas = schemas
    const { O_WRONLY, O_CREAT, O_EXCL } = constants
    this.#fd = openSync(path, O_WRONLY | O_CREAT | O_EXCL, 0o600)
    this.#writer = new McapWriter({
      chunkSize: CHUNK_BYTES,
      writable: {
        position: () => BigInt(this.#bytes),
        write: async bytes => {
          for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at)
          this.#bytes += bytes.length
        },
      },
    })
  }

  /** Written so far. */
  get bytes(): number {
    return this.#bytes
  }

  start(): Promise<void> {
    return this.#writer.start({ profile: '', library: 'turbo-pi' })
  }

  async add({ topic, schema, time, id, data }: FileMessage): Promise<void> {
    const channelId = await this.#channel(topic, schema)
    const sequence = id >>> 0
    await this.#writer.addMessage({ channelId, sequence, logTime: time, publishTime: time, data })
  }

  /** Writes the index, and closes the file once the disk has it. */
  async end(): Promise<void> {
    try {
      await this.#writer.end()
      fdatasyncSync(this.#fd)
    } finally {
      closeSync(this.#fd)
    }
  }

  /** Leaves the file without an index, up to its last whole chunk. */
  abandon(): void {
    try {
      ftruncateSync(this.#fd, this.#bytes)
    } finally {
      closeSync(this.#fd)
    }
  }

  async #channel(topic: string, name: string): Promise<number> {
    const key = `${name} ${topic}`
    const known = this.#channelIds.get(key)
    if (known !== undefined) return known
    const schema = this.#schemas[name]!
    const schemaId = this.#schemaIds.get(name) ?? (await this.#writer.registerSchema(schema))
    this.#schemaIds.set(name, schemaId)
    const messageEncoding = schema.encoding === 'protobuf' ? 'protobuf' : 'json'
    const id = await this.#writer.registerChannel({ topic, schemaId, messageEncoding, metadata: new Map() })
    this.#channelIds.set(key, id)
    return id
  }
}
