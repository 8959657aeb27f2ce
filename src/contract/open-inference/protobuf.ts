import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'
import { reasonOf, TurboPiError } from '../../errors.js'
import { MESSAGE_LIMITS } from '../limits.js'

const malformed = (detail: string) => new TurboPiError('BODY_MALFORMED', `Protocol Buffers: ${detail}.`)

/** Takes one field, or returns false for one that it does not know. */
type Take = (field: number, type: WireType) => unknown

/**
 * Reads one message of Protocol Buffers within the limits of all wires: no more values than JSON and MessagePack may have, so that
 * a message of two bytes a part cannot become millions of objects. Fields that are not known are passed over.
 */
export class MessageReader {
  readonly #reader: BinaryReader
  #values = 0

  constructor(bytes: Uint8Array) {
    this.#reader = new BinaryReader(bytes)
  }

  /** All fields of the message. Throws BODY_MALFORMED. */
  all(take: Take): void {
    try {
      this.#until(this.#reader.len, take)
    } catch (error) {
      throw error instanceof TurboPiError ? error : malformed(reasonOf(error))
    }
  }

  /** The fields of a message within it. */
  message(take: Take): void {
    this.#until(this.#end(), take)
  }

  string(): string {
    return this.#reader.string()
  }

  /** A view of the message. */
  bytes(): Uint8Array {
    return this.#reader.bytes()
  }

  bool(): boolean {
    return this.#reader.bool()
  }

  double(): number {
    return this.#reader.double()
  }

  /** Whole numbers beyond 2^53 are not exact. */
  int64(): number {
    return Number(this.#reader.int64())
  }

  uint64(): number {
    return Number(this.#reader.uint64())
  }

  /** Appends the numbers of a repeated field, which come one by one or packed. */
  numbers(type: WireType, into: unknown[], kind: keyof typeof NUMBERS): void {
    const read = NUMBERS[kind]
    if (type !== WireType.LengthDelimited) {
      into.push(read(this.#reader))
      return
    }
    for (const end = this.#end(); this.#reader.pos < end; ) {
      this.#count()
      into.push(read(this.#reader))
    }
  }

  #until(end: number, take: Take): void {
    const reader = this.#reader
    while (reader.pos < end) {
      this.#count()
      const [field, type] = reader.tag()
      if (type === WireType.StartGroup || type === WireType.EndGroup)
        throw malformed('groups, which no message of this service has')
      if (take(field, type) === false) reader.skip(type, field)
      if (reader.pos > end) throw malformed(`field ${field} is longer than its message`)
    }
  }

  /** Where the part ends whose length is read now. */
  #end(): number {
    const length = this.#reader.uint32()
    const end = this.#reader.pos + length
    if (end > this.#reader.len) throw malformed(`a part of ${length} bytes is longer than its message`)
    return end
  }

  #count(): void {
    if (++this.#values > MESSAGE_LIMITS.maxValues)
      throw malformed(
        `more than ${MESSAGE_LIMITS.maxValues} values in one message; send pictures as raw_input_contents`,
      )
  }
}

const NUMBERS = {
  bool: (reader: BinaryReader) => reader.bool(),
  int32: (reader: BinaryReader) => reader.int32(),
  int64: (reader: BinaryReader) => Number(reader.int64()),
  uint32: (reader: BinaryReader) => reader.uint32(),
  uint64: (reader: BinaryReader) => Number(reader.uint64()),
  float: (reader: BinaryReader) => reader.float(),
  double: (reader: BinaryReader) => reader.double(),
} as const
