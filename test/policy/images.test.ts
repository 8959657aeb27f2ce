import { existsSync, readFileSync } from 'node:fs'
import sharp from 'sharp'
import t from 'tap'
import { NdArray } from '../../src/contract/numpy.js'
import type { ObservationImage } from '../../src/contract/observation.js'
import { ImageDecoder } from '../../src/policy/images/decoder.js'
import { resizeWithPad } from '../../src/policy/images/resize.js'

const place = { pointer: '/observation~1image', layout: 'hwc' } as const
const decoder = new ImageDecoder({ size: 224, maxPixels: 16_777_216, resize: 'pillow' })
t.teardown(() => decoder.close())

/** Smooth, so that JPEG artefacts stay small. */
function picture(width: number, height: number, channels = 3): Uint8Array {
  const pixels = new Uint8Array(width * height * channels)
  for (let i = 0; i < width * height; i++) {
    const [x, y] = [i % width, Math.floor(i / width)]
    for (let c = 0; c < channels; c++)
      pixels[i * channels + c] = 127 + 120 * Math.sin((x * (c + 1)) / 40 + y / 30)
  }
  return pixels
}

const raw = (width: number, height: number, channels: 1 | 2 | 3 | 4 = 3) =>
  sharp(picture(width, height, channels), { raw: { width, height, channels } })
const encoded = (bytes: Uint8Array): ObservationImage => ({ kind: 'encoded', bytes })
const array = (data: Uint8Array | Float32Array | Float64Array, shape: number[]): ObservationImage =>
  data instanceof Uint8Array
    ? { kind: 'array', dtype: 'uint8', shape, data }
    : {
        kind: 'floats',
        array: new NdArray(
          data instanceof Float32Array ? '<f4' : '<f8',
          shape,
          new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
        ),
      }
const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0

t.test('arrays of any layout and type', async t => {
  const pixels = picture(224, 224)
  t.equal(await decoder.decode(array(pixels, [224, 224, 3]), place), pixels, 'the right size is not copied')
  const planes = new Uint8Array(pixels.length)
  pixels.forEach((value, i) => {
    planes[(i % 3) * 224 * 224 + Math.floor(i / 3)] = value
  })
  t.ok(same(await decoder.decode(array(planes, [3, 224, 224]), place), pixels), 'CHW')
  const floats = Float32Array.from(pixels, value => (value + 0.5) / 255)
  t.ok(same(await decoder.decode(array(floats, [224, 224, 3]), place), pixels), 'floats are truncated')
  const doubles = Float64Array.from(pixels, value => (value + 0.999) / 255)
  t.ok(same(await decoder.decode(array(doubles, [224, 224, 3]), place), pixels))

  const large = picture(320, 240)
  const expected = resizeWithPad({ pixels: large, width: 320, height: 240 }, 224)
  const frame = new Uint8Array(large.length + 77)
  frame.set(large, 77)
  t.ok(
    same(await decoder.decode(array(frame.subarray(77), [240, 320, 3]), place), expected),
    'a view is resized',
  )
  const narrow = picture(3, 3)
  const chw = await decoder.decode(array(narrow, [3, 3, 3]), { ...place, layout: 'chw' })
  t.notOk(
    same(chw, await decoder.decode(array(narrow, [3, 3, 3]), place)),
    'the camera says which layout 3×3×3 is',
  )
})

t.test('files of every accepted kind', async t => {
  const pixels = picture(224, 224)
  for (const format of ['png', 'webp'] as const) {
    const file = await raw(224, 224).toFormat(format, { lossless: true }).toBuffer()
    t.ok(same(await decoder.decode(encoded(file), place), pixels), format)
  }
  const jpeg = await raw(224, 224).jpeg({ quality: 95 }).toBuffer()
  const decoded = await decoder.decode(encoded(jpeg), place)
  t.ok(same(decoded, await sharp(jpeg).raw().toBuffer()), 'JPEG')
  t.ok(decoded.every((value, i) => Math.abs(value - (pixels[i] as number)) < 24))

  const turned = await raw(224, 224).withMetadata({ orientation: 6 }).png().toBuffer()
  t.ok(same(await decoder.decode(encoded(turned), place), pixels), 'EXIF orientation is not applied')
  const profiled = await raw(224, 224).withIccProfile('p3', { attach: true }).png().toBuffer()
  const stored = await sharp(profiled, { ignoreIcc: true }).raw().toBuffer()
  t.ok(same(await decoder.decode(encoded(profiled), place), stored), 'a colour profile is not applied')

  const alpha = picture(224, 224, 4)
  const rgba = await raw(224, 224, 4).png().toBuffer()
  const opaque = alpha.filter((_, i) => i % 4 !== 3)
  t.ok(same(await decoder.decode(encoded(rgba), place), opaque), 'alpha is dropped, not blended')
  const grey = await raw(224, 224, 1).toColourspace('b-w').png().toBuffer()
  const tripled = picture(224, 224, 1).reduce(
    (out, value, i) => out.fill(value, 3 * i, 3 * i + 3),
    new Uint8Array(150528),
  )
  t.ok(same(await decoder.decode(encoded(grey), place), tripled), 'grey becomes three equal channels')
  const palette = await raw(224, 224).png({ palette: true, colours: 256 }).toBuffer()
  t.ok(
    same(await decoder.decode(encoded(palette), place), await sharp(palette).removeAlpha().raw().toBuffer()),
    'palette',
  )

  const camera = await raw(640, 480).png().toBuffer()
  const expected = resizeWithPad({ pixels: picture(640, 480), width: 640, height: 480 }, 224)
  t.ok(same(await decoder.decode(encoded(camera), place), expected), 'a camera frame is fitted in')
})

/** A PNG that announces a size and has no pixels. */
function pngHeader(width: number, height: number): Uint8Array {
  const header = Buffer.from('89504e470d0a1a0a0000000d494844520000000000000000080200000000000000', 'hex')
  header.writeUInt32BE(width, 16)
  header.writeUInt32BE(height, 20)
  header.writeUInt32BE(crc32(header.subarray(12, 29)), 29)
  const end = Buffer.from('0000000049444154 35af061e 0000000049454e44ae426082'.replaceAll(' ', ''), 'hex')
  return Buffer.concat([header, end])
}

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  }
  return (crc ^ 0xffffffff) >>> 0
}

t.test('what cannot be an image is refused by name, and the next one works', async t => {
  const jpeg = await raw(224, 224).jpeg().toBuffer()
  const png = await raw(224, 224).png().toBuffer()
  const cmyk = await raw(224, 224).toColourspace('cmyk').jpeg().toBuffer()
  const deep = await raw(64, 64).toColourspace('rgb16').png().toBuffer()
  const refused = async (image: ObservationImage, code: string, message: RegExp) => {
    await t.rejects(decoder.decode(image, place), { code, message, fields: [{ pointer: place.pointer }] })
  }
  const bad = 'IMAGE_INVALID'
  await refused(encoded(jpeg.subarray(0, jpeg.length / 2)), bad, /could not be decoded/)
  await refused(encoded(png.subarray(0, png.length / 2)), bad, /could not be decoded/)
  await refused(encoded(jpeg.subarray(0, 100)), bad, /could not be decoded/)
  await refused(encoded(pngHeader(30000, 30000)), 'IMAGE_TOO_LARGE', /30000 × 30000 pixels/)
  await refused(encoded(pngHeader(100, 100)), bad, /could not be decoded/)
  await refused(encoded(pngHeader(16000, 1)), bad, /too narrow/)
  await refused(encoded(cmyk), bad, /CMYK/)
  await refused(encoded(deep), bad, /8 bits a channel/)
  await refused(encoded(new Uint8Array()), bad, /not a JPEG, PNG or WebP/)
  await refused(
    encoded(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')),
    bad,
    /not a JPEG/,
  )
  await refused(encoded(Buffer.from('GIF89a')), bad, /not a JPEG/)
  await refused(array(new Uint8Array(12), [2, 2, 4] as number[]), bad, /must have shape/)
  await refused(array(new Uint8Array(12), [12]), bad, /must have shape/)
  await refused(array(new Uint8Array(11), [2, 2, 3]), bad, /must hold 12 values/)
  await refused(array(new Uint8Array(0), [0, 5, 3]), bad, /is empty/)
  await refused(array(new Uint8Array(0), [30000, 30000, 3]), 'IMAGE_TOO_LARGE', /at most 16777216/)
  await refused(array(Float32Array.of(0, 1, 255), [1, 1, 3]), bad, /0…1/)
  await refused(array(Float32Array.of(0, 1, Number.NaN), [1, 1, 3]), bad, /0…1/)
  t.equal((await decoder.decode(encoded(jpeg), place)).length, 150528)
})

t.test('other sizes and methods', async t => {
  const small = new ImageDecoder({ size: 56, maxPixels: 100_000_000, resize: 'torch' })
  t.teardown(() => small.close())
  const image = { pixels: picture(100, 80), width: 100, height: 80 }
  t.ok(same(await small.decode(array(image.pixels, [80, 100, 3]), place), resizeWithPad(image, 56, 'torch')))
})

/** Begins with the nanoseconds for which the thread of the event loop has had a processor. */
const TIME_OF_LOOP = `/proc/self/task/${process.pid}/schedstat`

t.test(
  'large pictures leave the event loop free',
  { skip: !existsSync(TIME_OF_LOOP) && 'there is no /proc' },
  async t => {
    const small = new ImageDecoder({ size: 56, maxPixels: 100_000_000, resize: 'torch' })
    t.teardown(() => small.close())
    const pixels = new Uint8Array(6000 * 4000 * 3)
    const microseconds = () => Number(readFileSync(TIME_OF_LOOP, 'utf8').split(' ')[0]) / 1000
    const [before, usage] = [microseconds(), process.cpuUsage()]
    t.ok(same(await small.decode(array(pixels, [4000, 6000, 3]), place), new Uint8Array(56 * 56 * 3)))
    const loop = microseconds() - before
    const { user, system } = process.cpuUsage(usage)
    t.ok(loop < (user + system) / 2, `${loop} of ${user + system} µs were the event loop's`)
  },
)
