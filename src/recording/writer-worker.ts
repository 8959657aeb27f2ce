import { parentPort } from 'node:worker_threads'
import type { Cameras } from './cameras.js'
import { FileSeries, type SeriesNews, type SeriesOptions } from './file-series.js'
import { type PolicyNote, unpacked } from './handover.js'
import { dropped, type FileMessage, messagesOf } from './messages.js'
import { CameraEncoder } from './pictures.js'
import { Ring } from './ring.js'

/** What the worker is asked. */
export type WriterRequest =
  /** Files of their own for the records of a series. */
  | { ask: 'begin'; series: number; note: PolicyNote; options: SeriesOptions; cameras: Cameras }
  | { ask: 'wake' }
  /** `dropped`: records that found no room, and nothing in the ring says it. */
  | { ask: 'end'; dropped: number }

export type WriterNews = SeriesNews | { news: 'ended' }

/** Records whose pictures are encoded at a time. */
const AHEAD = 2

/** Takes records out of the ring, makes messages of them, and writes them: nothing of it on the event loop. */
class Writer {
  readonly #ring: Ring
  readonly #tell: (news: WriterNews) => void
  #series = 0
  #files: FileSeries | undefined
  #encoder: CameraEncoder | undefined
  /** Of a series that is still to begin. */
  #early: ReturnType<typeof unpacked> | undefined
  #work: Promise<void> = Promise.resolve()

  constructor(ring: Ring, tell: (news: WriterNews) => void) {
    this.#ring = ring
    this.#tell = tell
  }

  ask(request: WriterRequest): void {
    this.#work = this.#work.then(() => this.#do(request))
  }

  async #do(request: WriterRequest): Promise<void> {
    await this.#drain()
    if (request.ask === 'wake') return
    if (request.ask === 'end' && request.dropped > 0)
      await this.#files?.add([dropped({ at: Date.now(), records: request.dropped, reason: 'queue' })])
    await this.#files?.end()
    this.#files = undefined
    if (request.ask === 'end') return this.#tell({ news: 'ended' })
    this.#series = request.series
    this.#encoder = new CameraEncoder(request.cameras, request.note.observation)
    this.#files = new FileSeries(request.note, request.options, this.#tell)
    await this.#drain()
  }

  /** Everything that is in the ring up to the next series, in order; then sleeps. */
  async #drain(): Promise<void> {
    const ahead: Promise<FileMessage[]>[] = []
    do {
      while (true) {
        while (ahead.length < AHEAD) {
          const next = this.#next()
          if (!next) break
          ahead.push(next)
        }
        const first = ahead.shift()
        if (!first) break
        await this.#files?.add(await first)
      }
    } while (!this.#early && !this.#ring.sleep())
  }

  #next(): Promise<FileMessage[]> | undefined {
    const record = this.#early ?? this.#read()
    if (!record) return undefined
    this.#early = record.series === this.#series ? undefined : record
    if (this.#early) return undefined
    return messagesOf(record.head, record.blobs, this.#encoder!).catch(() => {
      this.#files?.lose()
      return []
    })
  }

  #read() {
    const record = this.#ring.read()
    return record && unpacked(record)
  }
}

const port = parentPort!
port.once('message', (shared: SharedArrayBuffer) => {
  const writer = new Writer(new Ring(shared), news => port.postMessage(news))
  port.on('message', (request: WriterRequest) => writer.ask(request))
})
