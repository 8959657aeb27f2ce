import { existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { makeDirectory } from '../../src/storage/make-directory.js'
import { repositoryPath } from '../support/served-policy.js'

t.test('a directory and its parents, or why not', async t => {
  const folder = t.testdir()
  makeDirectory(join(folder, 'a/b/c'))
  makeDirectory(join(folder, 'a/b/c'))
  t.ok(existsSync(join(folder, 'a/b/c')))
  writeFileSync(join(folder, 'file'), '')
  t.throws(() => makeDirectory(join(folder, 'file')), { code: 'EEXIST' })
  t.throws(() => makeDirectory(join(folder, 'file/b')), { code: 'ENOTDIR' })
  symlinkSync(join(folder, 'nowhere'), join(folder, 'dangling'))
  t.throws(() => makeDirectory(join(folder, 'dangling/b')), { code: 'EEXIST' })
})

t.test(
  'where nothing can be made it ends',
  { skip: !existsSync('/proc/self') && 'there is no /proc' },
  async t => {
    t.throws(() => makeDirectory('/proc/.cache/turbo-pi/models'), { code: 'ENOENT' })
  },
)

t.test('nobody makes directories by Node’s own recursion, which does not end there', async t => {
  const files = readdirSync(repositoryPath('src'), { recursive: true, encoding: 'utf8' })
  const guilty = files.filter(
    file =>
      file.endsWith('.ts') &&
      /\bmkdir(?:Sync)?\([^)]*recursive/.test(readFileSync(repositoryPath(`src/${file}`), 'utf8')),
  )
  t.same(guilty, [])
})
