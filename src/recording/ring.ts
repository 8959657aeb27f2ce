/** Where the counters of written and read bytes stand, and whether the reader sleeps. */
const WRITTEN = 0
const READ = 1
const SLEEPS = 2
const HEAD_BYTES = 16

/**
 * Records between one writing and one reading thread, in memory of a fixed size that both share: a record that has no room
 * is refused, and nothing is allocated for one that has. The counters go round at 2³².
 */
export class Ring {
  readonly shared: SharedArrayBuffer
  readonly #counters: Int32Array
  readonly #bytes: Uint8Array
  readonly #mask: number
  readonly #length = new Uint8Array(4)
  readonly #lengthView = new DataView(this.#length.buffer)

  /** `capacity` is a power of two, at most 2³¹. */
  static ofSize(capacity: number): Ring {
    return new Ring(new SharedArrayBuffer(HEAD_BYTES + capacity))
  }

  /** The other end of a ring. */
  constructor(shared: SharedArrayBuffer) {
    this.shared = shared
    this.#counters = new Int32Array(shared, 0, HEAD_BYTES / 4)
    this.#bytes = new Uint8Array(shared, HEAD_BYTES)
    this.#mask = this.#bytes.length - 1
  }

  /** Bytes that are written and not read. */
  get used(): number {
    return (Atomics.load(this.#counters, WRITTEN) - Atomics.load(this.#counters, READ)) >>> 0
  }

  /** One record of these parts, one after another; false when there is no room for it. */
  write(parts: readonly Uint8Array[]): boolean {
    let size = 0
    for (const { length } of parts) size += length
    if (size + 4 > this.#bytes.length - this.used) return false
    let at = Atomics.load(this.#counters, WRITTEN)
    this.#lengthView.setUint32(0, size, true)
    at = this.#put(this.#length, at)
    for (const part of parts) at = this.#put(part, at)
    Atomics.store(this.#counters, WRITTEN, at | 0)
    return true
  }

  /** The next record, in memory of its own; undefined when there is none. */
  read(): Uint8Array<ArrayBuffer> | undefined {
    if (this.used === 0) return undefined
    const at = Atomics.load(this.#counters, READ)
    this.#take(this.#length, at)
    const { buffer, length } = Buffer.allocUnsafeSlow(this.#lengthView.getUint32(0, true))
    const record = new Uint8Array(buffer, 0, length)
    this.#take(record, at + 4)
    Atomics.store(this.#counters, READ, (at + 4 + record.length) | 0)
    return record
  }

  /** The reader has nothing to do, and waits to be woken; false when something has come meanwhile. */
  sleep(): boolean {
    Atomics.store(this.#counters, SLEEPS, 1)
    if (this.used === 0) return true
    Atomics.store(this.#counters, SLEEPS, 0)
    return false
  }

  /** Whether the reader is to be woken; true once for each time that it sleeps. */
  toBeWoken(): boolean {
    return Atomics.exchange(this.#counters, SLEEPS, 0) === 1
  }

  #put(part: Uint8Array, at: number): number {
    const from = at & this.#mask
    const first = Math.min(part.length, this.#bytes.length - from)
    this.#bytes.set(first === part.length ? part : part.subarray(0, first), from)
    if (first < part.length) this.#bytes.set(part.subarray(first), 0)
    return at + part.length
  }

  #take(into: Uint8Array, at: number): void {
    const from = at & this.#mask
    const first = Math.min(into.length, this.#bytes.length - from)
    into.set(this.#bytes.subarray(from, from + first))
    if (first < into.length) into.set(this.#bytes.subarray(0, into.length - first), first)
  }
}
