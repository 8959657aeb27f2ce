/** Raw RGB pixels, row-major [height, width, 3]. */
export interface RgbImage {
  pixels: Uint8Array
  width: number
  height: number
}

/** How pixels are interpolated: `pillow` as openpi's server does, `torch` as LeRobot does (no antialiasing). */
export type ResizeMethod = 'pillow' | 'torch'

/** For each output position: the first input position and its weights. */
interface Kernel {
  starts: Int32Array
  /** [output, taps], zero-padded. */
  weights: Int32Array
  taps: number
}

const PRECISION_BITS = 22
const HALF = 1 << (PRECISION_BITS - 1)

/**
 * Fits an image into a black square, keeping its proportions (network §4.1). `pillow` is bit-exact with
 * Pillow's BILINEAR through openpi's resize_with_pad; inner sizes are truncated, so 225 wide becomes 223.
 * An image of the right size is returned as it is.
 */
export function resizeWithPad(image: RgbImage, size: number, method: ResizeMethod = 'pillow'): Uint8Array {
  const { width, height } = image
  if (width === size && height === size) return image.pixels
  const ratio = Math.max(width / size, height / size)
  const innerWidth = Math.trunc(width / ratio)
  const innerHeight = Math.trunc(height / ratio)
  const resize = method === 'pillow' ? resizePillow : resizeTorch
  const inner = resize(image, innerWidth, innerHeight)
  const square = new Uint8Array(size * size * 3)
  const top = Math.trunc((size - innerHeight) / 2)
  const left = Math.trunc((size - innerWidth) / 2)
  for (let row = 0; row < innerHeight; row++) {
    const start = row * innerWidth * 3
    square.set(inner.subarray(start, start + innerWidth * 3), ((top + row) * size + left) * 3)
  }
  return square
}

/** Two passes, horizontal first, each rounded to 8 bits; a pass that keeps its length is skipped. */
function resizePillow({ pixels, width, height }: RgbImage, outWidth: number, outHeight: number): Uint8Array {
  const rows = width === outWidth ? pixels : horizontal(pixels, width, height, outWidth)
  return height === outHeight ? rows : vertical(rows, outWidth, height, outHeight)
}

/** Triangle filter whose support grows with the reduction; weights sum to one and are rounded to 22 bits. */
function kernelOf(input: number, output: number): Kernel {
  const scale = input / output
  const support = Math.max(scale, 1)
  const taps = Math.ceil(support) * 2 + 1
  const starts = new Int32Array(output)
  const weights = new Int32Array(output * taps)
  for (let out = 0; out < output; out++) {
    const centre = (out + 0.5) * scale
    const first = Math.max(0, Math.trunc(centre - support + 0.5))
    const end = Math.min(input, Math.trunc(centre + support + 0.5))
    const raw: number[] = []
    let sum = 0
    for (let at = first; at < end; at++) {
      const weight = Math.max(0, 1 - Math.abs((at - centre + 0.5) * (1 / support)))
      raw.push(weight)
      sum += weight
    }
    starts[out] = first
    raw.forEach((weight, tap) => {
      weights[out * taps + tap] = Math.trunc((weight / sum) * (1 << PRECISION_BITS) + 0.5)
    })
  }
  return { starts, weights, taps }
}

const clamp8 = (value: number) => Math.max(0, Math.min(255, value))

function horizontal(pixels: Uint8Array, width: number, height: number, outWidth: number): Uint8Array {
  const { starts, weights, taps } = kernelOf(width, outWidth)
  const out = new Uint8Array(outWidth * height * 3)
  for (let x = 0; x < outWidth; x++) {
    const start = starts[x] as number
    const count = Math.min(taps, width - start)
    for (let y = 0; y < height; y++) {
      let at = (y * width + start) * 3
      let red = HALF
      let green = HALF
      let blue = HALF
      for (let tap = 0; tap < count; tap++, at += 3) {
        const weight = weights[x * taps + tap] as number
        red += weight * (pixels[at] as number)
        green += weight * (pixels[at + 1] as number)
        blue += weight * (pixels[at + 2] as number)
      }
      const to = (y * outWidth + x) * 3
      out[to] = clamp8(red >> PRECISION_BITS)
      out[to + 1] = clamp8(green >> PRECISION_BITS)
      out[to + 2] = clamp8(blue >> PRECISION_BITS)
    }
  }
  return out
}

function vertical(pixels: Uint8Array, width: number, height: number, outHeight: number): Uint8Array {
  const { starts, weights, taps } = kernelOf(height, outHeight)
  const stride = width * 3
  const out = new Uint8Array(stride * outHeight)
  const sums = new Int32Array(stride)
  for (let y = 0; y < outHeight; y++) {
    sums.fill(HALF)
    const start = starts[y] as number
    const count = Math.min(taps, height - start)
    for (let tap = 0; tap < count; tap++) {
      const weight = weights[y * taps + tap] as number
      if (weight === 0) continue
      const from = (start + tap) * stride
      for (let i = 0; i < stride; i++) sums[i] = (sums[i] as number) + weight * (pixels[from + i] as number)
    }
    for (let i = 0; i < stride; i++) out[y * stride + i] = clamp8((sums[i] as number) >> PRECISION_BITS)
  }
  return out
}

/** Two neighbours and the share of the second, with half-pixel centres (align_corners=False). */
function neighbours(
  input: number,
  output: number,
): { low: Int32Array; high: Int32Array; share: Float32Array } {
  const scale = Math.fround(input / output)
  const low = new Int32Array(output)
  const high = new Int32Array(output)
  const share = new Float32Array(output)
  for (let out = 0; out < output; out++) {
    const at = Math.max(0, Math.fround(Math.fround(scale * (out + 0.5)) - 0.5))
    low[out] = Math.min(Math.trunc(at), input - 1)
    high[out] = Math.min((low[out] as number) + 1, input - 1)
    share[out] = at - (low[out] as number)
  }
  return { low, high, share }
}

/** Four neighbours, no antialiasing, rounded half to even: torch's interpolate on 8-bit pixels. */
function resizeTorch({ pixels, width, height }: RgbImage, outWidth: number, outHeight: number): Uint8Array {
  const columns = neighbours(width, outWidth)
  const rows = neighbours(height, outHeight)
  const out = new Uint8ClampedArray(outWidth * outHeight * 3)
  for (let y = 0; y < outHeight; y++) {
    const upper = (rows.low[y] as number) * width
    const lower = (rows.high[y] as number) * width
    const down = rows.share[y] as number
    for (let x = 0; x < outWidth; x++) {
      const left = columns.low[x] as number
      const right = columns.high[x] as number
      const across = columns.share[x] as number
      for (let channel = 0; channel < 3; channel++) {
        const pixel = (row: number, column: number) => pixels[(row + column) * 3 + channel] as number
        const above = (1 - across) * pixel(upper, left) + across * pixel(upper, right)
        const below = (1 - across) * pixel(lower, left) + across * pixel(lower, right)
        out[(y * outWidth + x) * 3 + channel] = (1 - down) * above + down * below
      }
    }
  }
  return new Uint8Array(out.buffer)
}
