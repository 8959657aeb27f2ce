import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'

/** Image embeddings, or their bits. */
export type Embeddings = Float32Array | Uint16Array

export interface Embedded {
  /** Of all images, one after another. */
  embeddings: Embeddings
  /** Images that went through the vision graph. */
  encoded: number
  /** Images whose embeddings were known. */
  reused: number
}

/**
 * Runs images through the vision graph, but those whose bytes were seen before: cameras are often slower than the
 * control loop. It changes no bit of an answer, since an image's embeddings do not depend on the images beside it.
 */
export class VisionCache {
  private readonly known: LRUCache<string, Embeddings> | undefined

  /** `entries` images are kept; 0 keeps none. `encode` takes whole images, one after another. */
  constructor(
    entries: number,
    private readonly encode: (images: Uint8Array, count: number) => Promise<Embeddings>,
  ) {
    this.known = entries > 0 ? new LRUCache({ max: entries }) : undefined
  }

  /** `count` images of one size, one after another. */
  async embed(images: Uint8Array, count: number): Promise<Embedded> {
    if (!this.known) return { embeddings: await this.encode(images, count), encoded: count, reused: 0 }
    const size = images.length / count
    const image = (index: number) => images.subarray(index * size, (index + 1) * size)
    const keys = Array.from({ length: count }, (_, index) => digest(image(index)))
    const found = new Map(keys.map(key => [key, this.known!.get(key)]))
    const missing = [...found].filter(([, embeddings]) => !embeddings).map(([key]) => key)

    const fresh = new Uint8Array(missing.length * size)
    for (const [i, key] of missing.entries()) fresh.set(image(keys.indexOf(key)), i * size)
    if (missing.length > 0) {
      const embeddings = await this.encode(fresh, missing.length)
      const width = embeddings.length / missing.length
      for (const [i, key] of missing.entries()) {
        const own = embeddings.slice(i * width, (i + 1) * width)
        found.set(key, own)
        this.known.set(key, own)
      }
    }
    return {
      embeddings: joined(keys.map(key => found.get(key)!)),
      encoded: missing.length,
      reused: count - missing.length,
    }
  }
}

const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('base64')

function joined(parts: readonly Embeddings[]): Embeddings {
  const first = parts[0]!
  const Elements = first.constructor as new (length: number) => Embeddings
  const all = new Elements(first.length * parts.length)
  for (const [i, part] of parts.entries()) all.set(part, i * first.length)
  return all
}
