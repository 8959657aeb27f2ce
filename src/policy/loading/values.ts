import { DTYPE_BYTES, type Dtype, toFloat32 } from '../../storage/dtype.js'
import { elementCount } from '../../storage/safetensors.js'

/** A weight of this size, or larger, comes from no training: it is what a flipped bit of the exponent makes. */
const ABSURD = 2 ** 16
/** Bytes of zeros in a row that no matrix has: what a download leaves that was cut. Rows of tokens never seen are shorter. */
const HOLE_BYTES = 2 ** 20

/** The elements' bits; those of the exponent, of the smallest absurd value, and all but the sign. */
function bitsOf(dtype: Dtype, bytes: Uint8Array<ArrayBuffer>) {
  if (dtype === 'BF16')
    return { words: new Uint16Array(bytes.buffer), absurd: 0x4780, exponent: 0x7f80, magnitude: 0x7fff }
  // No number of this type is absurd.
  if (dtype === 'F16')
    return { words: new Uint16Array(bytes.buffer), absurd: 0x7c00, exponent: 0x7c00, magnitude: 0x7fff }
  const words = new Uint32Array(toFloat32(dtype, bytes).buffer as ArrayBuffer)
  return { words, absurd: 0x47800000, exponent: 0x7f800000, magnitude: 0x7fffffff }
}

/** Matrices; norms and biases may be zero, and the factors of an adapter begin so. */
const isMatrix = (name: string, shape: readonly number[]) =>
  shape.length >= 2 && !/norm|bias|scale|lora_|LayerNorm/i.test(name)

/** What the values of one tensor, read in consecutive windows or in samples, say of it. */
export class Values {
  readonly #dtype: Dtype
  readonly #matrix: boolean
  /** Zeros in a row that are a hole. */
  readonly #hole: number
  #seen = 0
  #zeros = 0
  /** Zeros in a row up to the last element seen, and that element's place. */
  #run = 0
  #end = 0

  constructor(dtype: Dtype, shape: readonly number[], name: string) {
    this.#dtype = dtype
    this.#matrix = isMatrix(name, shape)
    this.#hole = Math.min(HOLE_BYTES / DTYPE_BYTES[dtype], Math.ceil(elementCount(shape) / 2))
  }

  /** What is wrong with the elements from `first` on, in words that follow the tensor's name. */
  faultIn(bytes: Uint8Array<ArrayBuffer>, first: number): string | undefined {
    if (first !== this.#end) this.#endRun()
    // The bits are looked at, not the numbers: there are billions of them.
    const { words, absurd, exponent, magnitude } = bitsOf(this.#dtype, bytes)
    this.#seen += words.length
    this.#end = first + words.length
    for (let i = 0; i < words.length; i++) {
      const size = words[i]! & magnitude
      if (size === 0) {
        this.#run++
        if (this.#run >= this.#hole && this.#matrix) return this.#holeAt(first + i)
      } else if (size >= absurd) return this.#absurd(first + i, size >= exponent)
      else if (this.#run > 0) this.#endRun()
    }
    return undefined
  }

  /** What is wrong with everything that was seen. */
  faultOfAll(): string | undefined {
    this.#endRun()
    if (!this.#matrix || this.#seen === 0 || this.#zeros < this.#seen) return undefined
    return `is zero in all ${this.#seen} places that were looked at. The file was not downloaded or written to its end: copy it again.`
  }

  #endRun(): void {
    this.#zeros += this.#run
    this.#run = 0
  }

  #absurd(element: number, notFinite: boolean): string {
    return notFinite
      ? `holds a value that is not finite at element ${element}. The checkpoint is damaged or its training diverged: take another one.`
      : `holds a value of ${ABSURD} or more at element ${element}; no trained weight is that large. The checkpoint is damaged: copy it again.`
  }

  #holeAt(element: number): string {
    return `is zero in ${this.#run} elements in a row up to element ${element}: a hole, as a download leaves that was cut. Copy the file again.`
  }
}
