import { statfsSync } from 'node:fs'
import { join } from 'node:path'
import { reasonOf } from '../errors.js'
import { makeDirectory } from '../storage/make-directory.js'
import { type Schema, schemasOf } from './channels.js'
import type { PolicyNote } from './handover.js'
import { McapFile } from './mcap-file.js'
import { dropped, type FileMessage } from './messages.js'

export interface SeriesOptions {
  directory: string
  /** Bytes after which the next file is begun. */
  maxBytes: number
  /** Milliseconds after which the next file is begun. */
  maxMs: number
  /** Bytes that are to stay free on the disk. */
  minFree: number
}

/** What its owner is told. */
export type SeriesNews =
  | { news: 'opened' | 'closed'; file: string; bytes: number }
  | { news: 'lost' }
  /** Nothing is written for now, and why; null when it goes on. */
  | { news: 'paused'; reason: string | null }

/** Milliseconds after which a disk that took nothing is tried again, and between looks at its free space. */
const RETRY_MS = 1000

/**
 * The files of a recording, one after another. What the disk does not take is counted and said in the next file; a file that
 * could not be written to its end is readable up to its last chunk.
 */
export class FileSeries {
  readonly #options: SeriesOptions
  readonly #note: PolicyNote
  readonly #schemas: Readonly<Record<string, Schema>>
  readonly #tell: (news: SeriesNews) => void
  #file: McapFile | undefined
  #openedAt = 0
  #checkedAt = 0
  #failedAt = Number.NEGATIVE_INFINITY
  #paused: string | null = null
  /** Records that the next file says are missing. */
  #lost = 0

  constructor(note: PolicyNote, options: SeriesOptions, tell: (news: SeriesNews) => void) {
    this.#note = note
    this.#options = options
    this.#schemas = schemasOf(note)
    this.#tell = tell
  }

  /** The messages of one record. */
  async add(messages: readonly FileMessage[]): Promise<void> {
    if (performance.now() - this.#failedAt < RETRY_MS) return this.lose()
    try {
      const file = await this.#current()
      for (const message of messages) await file.add(message)
    } catch (error) {
      this.#fail(error)
      this.lose()
    }
  }

  /** Ends the file. */
  async end(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    if (!file) return
    try {
      await file.end()
      this.#tell({ news: 'closed', file: file.path, bytes: file.bytes })
    } catch (error) {
      this.#pause(reasonOf(error))
    }
  }

  async #current(): Promise<McapFile> {
    const { maxBytes, maxMs } = this.#options
    const now = performance.now()
    if (this.#file && (this.#file.bytes >= maxBytes || now - this.#openedAt >= maxMs)) await this.end()
    if (!this.#file || now - this.#checkedAt >= RETRY_MS) await this.#requireSpace()
    this.#file ??= await this.#open()
    return this.#file
  }

  async #requireSpace(): Promise<void> {
    const { directory, minFree } = this.#options
    makeDirectory(directory)
    const { bavail, bsize } = statfsSync(directory)
    this.#checkedAt = performance.now()
    if (bavail * bsize >= minFree) return
    await this.end()
    const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`
    throw new Error(
      `${megabytes(bavail * bsize)} are free in ${directory}, ${megabytes(minFree)} are to stay so (--record-min-free)`,
    )
  }

  async #open(): Promise<McapFile> {
    const file = this.#create()
    await file.start()
    const at = Date.now()
    const time = BigInt(at) * 1_000_000n
    const data = Buffer.from(JSON.stringify(this.#note))
    await file.add({ topic: '/policy', schema: 'policy', time, id: 0, data })
    if (this.#lost > 0) await file.add(dropped({ at, records: this.#lost, reason: 'disk' }))
    this.#lost = 0
    this.#openedAt = performance.now()
    this.#pause(null)
    this.#tell({ news: 'opened', file: file.path, bytes: file.bytes })
    return file
  }

  #create(): McapFile {
    const stamp = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '')
    for (let number = 1; ; number += 1) {
      const name = `${this.#note.served}-${stamp}-${String(number).padStart(3, '0')}.mcap`
      try {
        return new McapFile(join(this.#options.directory, name), this.#schemas)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
    }
  }

  #fail(error: unknown): void {
    this.#failedAt = performance.now()
    this.#pause(reasonOf(error))
    const file = this.#file
    this.#file = undefined
    if (!file) return
    file.abandon()
    this.#tell({ news: 'closed', file: file.path, bytes: file.bytes })
  }

  #pause(reason: string | null): void {
    if ((this.#paused === null) === (reason === null)) return
    this.#paused = reason
    this.#tell({ news: 'paused', reason })
  }

  /** A record is missing. */
  lose(): void {
    this.#lost += 1
    this.#tell({ news: 'lost' })
  }
}
