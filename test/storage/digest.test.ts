import { createHash } from 'node:crypto'
import { closeSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { TurboPiError } from '../../src/errors.js'
import { contentDigest, PIECE_BYTES, PieceHasher } from '../../src/storage/content.js'
import { damageIn, digestFiles } from '../../src/storage/digest.js'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

function put(path: string, at: number, text: string): void {
  const descriptor = openSync(path, 'r+')
  writeSync(descriptor, text, at)
  closeSync(descriptor)
}

t.test('files are read in pieces, in threads, and checked against what was written', async t => {
  const folder = t.testdir({ small: 'abc', empty: '' })
  const [large, small, empty] = ['large', 'small', 'empty'].map(name => join(folder, name)) as [
    string,
    string,
    string,
  ]
  writeFileSync(large, '')
  truncateSync(large, 4 * PIECE_BYTES + 10)
  put(large, 2 * PIECE_BYTES, 'third')
  const heard: [number, number][] = []
  const reading = digestFiles([large, small, empty], (file, piece) => heard.push([file, piece]))
  const zeros = new Uint8Array(PIECE_BYTES)
  const third = zeros.slice()
  third.set(Buffer.from('third'))
  const pieces = [zeros, zeros, third, zeros, new Uint8Array(10)].map(sha256)
  const expected = [
    { bytes: 4 * PIECE_BYTES + 10, pieces },
    { bytes: 3, pieces: [sha256(Buffer.from('abc'))] },
    { bytes: 0, pieces: [] },
  ]
  t.same(await reading.done, expected)
  t.same(heard.sort(), [...pieces.map((_, piece) => [0, piece]), [1, 0]])

  const hasher = new PieceHasher()
  for (const part of [zeros, zeros.subarray(7), zeros.subarray(0, 7), third]) hasher.update(part)
  for (const part of [zeros, new Uint8Array(10)]) hasher.update(part)
  t.same(hasher.end(), expected[0], 'written in parts of any size')

  const files = { large: expected[0]!, small: expected[1]! }
  t.equal(await damageIn(folder, files), undefined)
  const gone = new TurboPiError('REQUEST_CANCELLED', 'enough')
  const giveUp = () => {
    throw gone
  }
  await t.rejects(damageIn(folder, files, giveUp), gone, 'giving up is no damage')
  put(large, 3 * PIECE_BYTES + 5, '\x01')
  t.match(
    await damageIn(folder, files),
    `large has changed since it was written, in its bytes from ${3 * PIECE_BYTES} on`,
  )
  truncateSync(large, 20)
  t.match(await damageIn(folder, files), /large has 20 bytes, \d+ were written/)
  rmSync(large)
  t.match(await damageIn(folder, files), 'large is missing')
  await t.rejects(digestFiles([large]).done, { code: 'ENOENT' })
})

t.test('a content is its bytes, its names where they count, and what is made of it', t => {
  const file = { name: '', bytes: 3, pieces: [sha256(Buffer.from('abc'))] }
  const all = [
    { files: [file] },
    { files: [{ ...file, name: 'params/0.0' }] },
    { files: [file, file] },
    { files: [file], made: 'rank 8' },
    { files: [{ ...file, pieces: [sha256(Buffer.from('abd'))] }] },
  ].map(contentDigest)
  t.equal(new Set(all).size, all.length)
  t.equal(contentDigest({ files: [{ ...file }] }), all[0])
  t.end()
})
