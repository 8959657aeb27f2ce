import { truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readGivenFile, requireGivenFile } from '../../src/storage/given-file.js'
import { scratch } from '../support/checkpoint.js'

const CODE = 'TOKENIZER_INVALID'

t.test('devices and directories are no files, and are not waited for', async t => {
  const invalid = (message: RegExp) => ({ code: CODE, message })
  t.throws(() => requireGivenFile('/dev/zero', CODE), invalid(/is a device, not a file/))
  t.throws(() => requireGivenFile(scratch(t), CODE), invalid(/is a directory, not a file/))
  t.throws(() => requireGivenFile(join(scratch(t), 'none'), CODE), invalid(/cannot be opened: ENOENT/))
})

t.test('a file is read whole, unless it is empty or larger than its kind can be', async t => {
  const path = join(scratch(t), 'file')
  writeFileSync(path, 'text')
  t.equal(readGivenFile(path, CODE, 4).toString(), 'text')
  t.throws(() => readGivenFile(path, CODE, 3), { message: /has 4 bytes; .* more than 3/ })
  truncateSync(path, 0)
  t.throws(() => readGivenFile(path, CODE, 4), { message: /it is empty/ })
})

t.test('a text that begins as a pickle or as markup does is not taken for one', async t => {
  const path = join(scratch(t), 'file')
  for (const content of [
    Buffer.from([0x80, 0x04, 0, 0]),
    Buffer.from('<s> a token\n'),
    Buffer.from('{"<html": 1}'),
  ]) {
    writeFileSync(path, content)
    t.equal(requireGivenFile(path, CODE), content.byteLength)
  }
})
