import sharp from 'sharp'
import t from 'tap'
import type { ObservationImage } from '../../src/contract/observation.js'
import { ImageDecoder } from '../../src/policy/images/decoder.js'
import { announcedSize } from '../../src/policy/images/header.js'
import { Dispatcher } from '../../src/runtime/scheduling/dispatcher.js'
import { FakeRuntime } from '../support/fake-runtime.js'

const place = { pointer: '/image', layout: 'hwc' } as const
const encoded = (bytes: Uint8Array): ObservationImage => ({ kind: 'encoded', bytes })
const picture = (width: number, height: number) =>
  sharp({ create: { width, height, channels: 3, background: '#345678' } })

t.test('the first bytes of a file tell its size', async t => {
  const files = {
    jpeg: await picture(321, 123).jpeg().toBuffer(),
    progressive: await picture(321, 123).jpeg({ progressive: true }).toBuffer(),
    'with metadata': await picture(321, 123)
      .withExif({ IFD0: { Copyright: 'x' } })
      .jpeg()
      .toBuffer(),
    png: await picture(321, 123).png().toBuffer(),
    'webp, lossy': await picture(321, 123).webp().toBuffer(),
    'webp, lossless': await picture(321, 123).webp({ lossless: true }).toBuffer(),
    'webp, extended': await picture(321, 123).withIccProfile('p3').webp().toBuffer(),
  }
  for (const [name, file] of Object.entries(files)) {
    t.same(announcedSize(file), { width: 321, height: 123 }, name)
    for (let length = 12; length < 30; length += 1)
      t.doesNotThrow(() => announcedSize(file.subarray(0, length)), `${name}, cut`)
  }
  t.equal(announcedSize(Buffer.from('GIF89a and more')), null)
  t.equal(announcedSize(Buffer.from('ffd8ffe0000affffffffffff', 'hex')), undefined, 'a JPEG without a frame')
})

t.test('a picture larger than those of cameras is refused by its first bytes', async t => {
  const decoder = new ImageDecoder({ size: 224, maxPixels: 1000, resize: 'pillow' })
  t.teardown(() => decoder.close())
  const file = await picture(100, 100).png().toBuffer()
  t.throws(() => decoder.pixels(encoded(file), place), { code: 'IMAGE_TOO_LARGE' })
  t.equal(decoder.pixels(encoded(await picture(30, 20).webp().toBuffer()), place), 600)
  t.throws(() => decoder.pixels(encoded(Buffer.from('text')), place), { code: 'IMAGE_INVALID' })
})

t.test('a file whose parts disagree about its size is refused', async t => {
  const decoder = new ImageDecoder({ size: 224, maxPixels: 1e6, resize: 'pillow' })
  t.teardown(() => decoder.close())
  const file = await picture(300, 200).withIccProfile('p3').webp().toBuffer()
  // The canvas of the extended header.
  file.writeUIntLE(9, 24, 3)
  await t.rejects(decoder.decode(encoded(file), place), { code: 'IMAGE_INVALID' })
})

t.test('large pictures leave turns to everybody else', async t => {
  const queue = new Dispatcher(new FakeRuntime())
  t.teardown(() => queue.close(0))
  const under: string[] = []
  const ends: (() => void)[] = []
  const prepare = (session: string, pixels: number) => {
    const ticket = queue.admit({ session, pixels })
    return queue.prepare(ticket, async () => {
      under.push(session)
      await new Promise<void>(resolve => ends.push(resolve))
    })
  }
  const all = Array.from({ length: 40 }, (_, i) => prepare(`large ${i}`, 2 * 4096 * 4096))
  const largeAtOnce = under.length
  all.push(prepare('robot', 2 * 640 * 480))
  await Promise.resolve()
  t.ok(under.includes('robot'), 'a robot is taken up at once, beside 40 of them')
  t.ok(largeAtOnce < under.length)
  for (let done = 0; done < all.length; done += 1) {
    ends.shift()?.()
    await new Promise(setImmediate)
  }
  await Promise.all(all)
  t.equal(under.length, 41, 'and they all get their turn')
})

t.test('a session whose pictures are large waits longer for its next turn', async t => {
  const queue = new Dispatcher(new FakeRuntime())
  t.teardown(() => queue.close(0))
  const order: string[] = []
  let free = () => {}
  const blocked: Promise<void>[] = []
  const block = new Promise<void>(resolve => {
    free = resolve
  })
  const prepare = (session: string, pixels: number, wait?: Promise<void>) => {
    const ticket = queue.admit({ session, pixels })
    return queue.prepare(ticket, async () => {
      order.push(session)
      await wait
    })
  }
  // Every turn is taken.
  for (let i = 0; i < 100; i += 1) blocked.push(prepare(`first ${i}`, 0, i < 66 ? block : undefined))
  for (let i = 0; i < 4; i += 1) blocked.push(prepare('large', 2 ** 24), prepare('small', 0))
  free()
  await Promise.all(blocked)
  const rest = order.filter(name => !name.startsWith('first'))
  t.ok(rest.lastIndexOf('small') < rest.lastIndexOf('large'))
  t.ok(rest.slice(0, 5).filter(name => name === 'small').length >= 3)
})
