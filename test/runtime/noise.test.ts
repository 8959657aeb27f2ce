import t from 'tap'
import { drawNoise, philox4x32, seededNoise } from '../../src/runtime/noise.js'

t.test('noise is the same on every machine', async t => {
  const philox = (counter: number[], [key0, key1]: [number, number]) => {
    const words = Int32Array.from(counter)
    philox4x32(words, key0, key1)
    return Array.from(words, word => (word >>> 0).toString(16).padStart(8, '0')).join(' ')
  }
  // Known answers of the Random123 distribution.
  t.equal(philox([0, 0, 0, 0], [0, 0]), '6627e8d5 e169c58d bc57ac4c 9b00dbd8')
  const ones = 0xffffffff
  t.equal(philox([ones, ones, ones, ones], [ones, ones]), '408f276d 41c83b0e a20bc7c6 6d5451fd')
  t.equal(
    philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
    'd16cfe09 94fdcceb 5001e420 24126ea1',
  )
  const noise = seededNoise(7, 100_001)
  const mean = noise.reduce((sum, x) => sum + x, 0) / noise.length
  const moment = (power: number) => noise.reduce((sum, x) => sum + (x - mean) ** power, 0) / noise.length
  t.ok(Math.abs(mean) < 0.01)
  t.ok(Math.abs(moment(2) - 1) < 0.02)
  t.ok(Math.abs(moment(3)) < 0.05)
  t.ok(Math.abs(moment(4) - 3) < 0.15)
  t.same(noise.subarray(0, 320), seededNoise(7, 320), 'a prefix of a longer draw')
  t.notSame(seededNoise(8, 320), seededNoise(7, 320))
  t.same(
    [...seededNoise(0, 4)],
    [-0.6434498429298401, 1.5023680925369263, 1.3176621198654175, 0.4797610640525818],
  )
  for (const seed of [-1, 2 ** 32, 0.5, Number.NaN]) t.throws(() => seededNoise(seed, 1), RangeError)
})

t.test('rows bring their seeds or their numbers', async t => {
  const rows = [
    { steps: 1, noise: Float32Array.of(1, 2, 3) },
    { steps: 1, noise: 7 },
  ]
  t.same([...drawNoise(rows, 3)], [1, 2, 3, ...seededNoise(7, 3)])
})
