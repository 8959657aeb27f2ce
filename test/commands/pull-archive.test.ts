import { cpSync, existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { command } from '../../src/commands/pull/pull.js'
import { loadPolicy } from '../../src/policy/loading/load.js'
import { cachedDirectory, parseRemote } from '../../src/storage/downloads.js'
import { sha256Of, tarEntry, tarOf, zip } from '../support/archives.js'
import { openpiCheckpoint, scratch } from '../support/checkpoint.js'
import { cutWhenWritten } from '../support/cut.js'
import { freePort } from '../support/free-port.js'

interface Behaviour {
  /** Bytes after which every answer is cut. */
  cutAfter?: number
  ranges?: boolean
  status?: number
  etag?: string
  /** Bytes of the whole, as the server states it; undefined leaves it out. */
  length?: number | undefined
}

/** A server of one file at any address. */
async function fileServer(t: Test, bytes: Buffer, behaviour: Behaviour = {}) {
  const asked: string[] = []
  const cache = scratch(t)
  const server = createServer((request, response) => {
    const { status, etag, cutAfter, ranges = true } = behaviour
    if (status) {
      response.writeHead(status).end('<html>')
      return
    }
    const range = request.headers.range ?? ''
    const [, from, to] = (ranges && /bytes=(\d+)-(\d*)/.exec(range)) || []
    const start = Number(from ?? 0)
    const whole = bytes.subarray(start, to ? Number(to) + 1 : bytes.length)
    if (to === '') asked.push(range)
    const total = 'length' in behaviour ? behaviour.length : bytes.length
    response.writeHead(from === undefined ? 200 : 206, {
      ...(etag && { etag }),
      ...(from === undefined
        ? total !== undefined && { 'content-length': total }
        : { 'content-range': `bytes ${start}-${start + whole.length - 1}/${total ?? '*'}` }),
    })
    if (cutAfter === undefined || cutAfter >= whole.length || to) response.end(whole)
    else {
      response.write(whole.subarray(0, cutAfter))
      cutWhenWritten(cache, start + cutAfter, () => response.destroy())
    }
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  t.intercept(process, 'env', { value: { ...process.env, OPENPI_DATA_HOME: cache } })
  const printed: string[] = []
  t.intercept(console, 'log', { value: (line: string) => printed.push(line) })
  t.intercept(console, 'error', { value: () => {} })
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return { asked, behaviour, cache, host, printed, url: `http://${host}/models` }
}

/** The files that are left anywhere below a folder. */
const filesIn = (folder: string) =>
  readdirSync(folder, { recursive: true, withFileTypes: true }).flatMap(entry =>
    entry.isFile() ? entry.name : [],
  )

const hundred = Buffer.from(Uint8Array.from({ length: 100_000 }, (_, i) => (i * i) >> 5))

t.test('archives are checkpoints in other words: unpacked into openpi’s cache, once, and served', async t => {
  const directory = openpiCheckpoint(t)
  const outer = scratch(t)
  cpSync(directory, join(outer, 'inner/libero'), { recursive: true })
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter(e => e.isFile())
  const zipped = files.map(({ parentPath, name }) => {
    const path = join(parentPath, name)
    return { name: path.slice(directory.length + 1), content: readFileSync(path) }
  })
  for (const [ending, bytes] of [
    ['tar', tarOf(directory, readdirSync(directory), false)],
    ['tar.gz', tarOf(join(outer, 'inner'), ['libero'], true)],
    ['tgz', tarOf(join(outer, 'inner'), ['./'], true)],
    ['zip', zip(zipped)],
  ] as const) {
    const { asked, cache, host, printed, url } = await fileServer(t, bytes)
    const source = `${url}/pi05_mine.${ending}?signed=1`
    t.equal(cachedDirectory(source), undefined)
    t.equal(await command.run([source, '--sha256', sha256Of(bytes)]), 0)
    const place = join(cache, host, 'models/pi05_mine')
    t.equal(printed.pop(), place)
    t.equal(cachedDirectory(source), place, '--policy takes the same address')
    for (const { name, content } of zipped) t.ok(readFileSync(join(place, name)).equals(content), name)
    await (await loadPolicy(source, { config: 'pi05_libero' })).close()
    await command.run([source])
    t.same(asked, [], 'nothing is downloaded twice')
    t.same(readdirSync(join(cache, host, 'models')), ['pi05_mine'], 'and nothing else is left')
  }
})

for (let tenth = 1; tenth < 10; tenth++)
  t.test(`an archive that is cut every ${tenth} tenths goes on where it was`, async t => {
    const bytes = zip([{ name: 'a', content: hundred }])
    const { asked, cache, url } = await fileServer(t, bytes, {
      cutAfter: Math.floor((bytes.length * tenth) / 10),
    })
    await command.run([`${url}/a.zip`, '--to', join(cache, 'to')])
    t.same(readFileSync(join(cache, 'to/a')), hundred)
    const starts = asked.map(range => Number(/^bytes=(\d+)-$/.exec(range)?.[1]))
    t.ok(starts.length > 0 && starts[0]! > 0, 'no byte that came is asked for again')
    t.ok(starts.every((start, i) => i === 0 || start >= starts[i - 1]!))
  })

t.test('a dead link leaves nothing that looks whole; another version is begun anew', async t => {
  const first = tarEntry({ path: 'a' }, hundred)
  const { asked, behaviour, cache, url } = await fileServer(t, first, { cutAfter: 0, etag: '"1"' })
  const to = join(cache, 'to')
  behaviour.cutAfter = 1000
  behaviour.ranges = false
  const message = /same command again: it goes on where it was cut/
  await t.rejects(command.run([`${url}/a.tar`, '--to', to]), { code: 'DOWNLOAD_FAILED', message })
  t.notOk(existsSync(to))
  t.equal(filesIn(cache).length, 1)
  t.match(filesIn(cache), [/^to\.[0-9a-f]{12}\.archive\.incomplete$/])
  Object.assign(behaviour, { etag: '"2"', ranges: true, cutAfter: undefined })
  await command.run([`${url}/a.tar`, '--to', to])
  t.same(asked, [], 'the parts of another version are not gone on with')
  t.same(filesIn(cache), ['a'])
})

t.test('refusals of a server say what to do', async t => {
  const { behaviour, cache, url } = await fileServer(t, zip([{ name: 'a', content: hundred }]))
  const pull = (...more: string[]) => command.run([`${url}/a.zip`, '--to', join(cache, 'to'), ...more])
  for (const [status, message] of [
    [403, /access was refused \(status 403\)\.\nThe link may have expired or need a sign-in/],
    [401, /access was refused \(status 401\)/],
    [404, /status 404/],
    [500, /status 500\)?\.\nTry again later/],
  ] as const) {
    behaviour.status = status
    await t.rejects(pull(), { code: 'DOWNLOAD_FAILED', message })
  }
  delete behaviour.status
  behaviour.ranges = false
  behaviour.length = undefined
  await t.rejects(pull(), { message: /does not say how many bytes it has/ })
  Object.assign(behaviour, { ranges: true, length: 2 ** 52 })
  await t.rejects(pull(), { message: /bytes free, the download needs 9007199254740992\.\nMake room/ })
  behaviour.length = zip([{ name: 'a', content: hundred }]).length
  await t.rejects(pull('--sha256', '0'.repeat(64)), { message: /its sha256 checksum is .*, expected 0{64}/ })
  t.same(filesIn(cache), [], 'and nothing is left of all of them')

  await t.rejects(command.run([`http://127.0.0.1:${await freePort()}/a.zip`]), {
    message: /ECONNREFUSED.*\.\nCheck the connection/,
  })
  await t.rejects(command.run(['owner/name', '--sha256', '0'.repeat(64)]), {
    message: /--sha256 is for an archive/,
  })
  await t.rejects(pull('--sha256', 'abc'), { code: 'CONFIG_INVALID', message: /64 hexadecimal digits/ })
  for (const other of ['https://host/a.rar', 'https://host/', 'http://host/a.zip', 'https://host/.zip'])
    t.equal(parseRemote(other), undefined, other)
})

const LINK = 0o120777
const bomb = Buffer.alloc(2 ** 27)
for (const [what, ending, make, message] of [
  [
    'leads out of its folder (tar)',
    'tar',
    () => tarEntry({ path: '../out' }, hundred),
    /leads out of its folder/,
  ],
  ['leads out of its folder (zip)', 'zip', () => zip([{ name: '../out', content: hundred }]), /\.\.\/out/],
  [
    'has an absolute path (tar)',
    'tar',
    () => tarEntry({ path: '/tmp/out' }, hundred),
    /leads out of its folder/,
  ],
  ['has an absolute path (zip)', 'zip', () => zip([{ name: '/tmp/out', content: hundred }]), /absolute path/],
  [
    'holds a symbolic link (tar)',
    'tar',
    () => tarEntry({ path: 'a', type: 'SymbolicLink', linkpath: '/etc' }),
    /a link or a device/,
  ],
  [
    'holds a symbolic link (zip)',
    'zip',
    () => zip([{ name: 'a', content: Buffer.from('/etc'), mode: LINK }]),
    /a link or a device/,
  ],
  [
    'holds a hard link',
    'tar',
    () => tarEntry({ path: 'a', type: 'Link', linkpath: '/etc/passwd' }),
    /a link or a device/,
  ],
  ['holds a device', 'tar', () => tarEntry({ path: 'a', type: 'CharacterDevice' }), /a link or a device/],
  [
    'holds a file twice',
    'zip',
    () => zip(['a', './a'].map(name => ({ name, content: hundred }))),
    /two entries/,
  ],
  [
    'is a bomb (zip)',
    'zip',
    () => zip([{ name: 'a', content: bomb }]),
    /unpack to 134217728; no checkpoint shrinks so far/,
  ],
  [
    'is a bomb (tar.gz)',
    'tar.gz',
    () => gzipSync(tarEntry({ path: 'a' }, bomb)),
    /decompression ratio|no checkpoint shrinks/,
  ],
  [
    'has more in it than it states',
    'zip',
    () => zip([{ name: 'a', content: hundred, size: 10 }]),
    /too many bytes/,
  ],
  [
    'needs more space than there is',
    'zip',
    () =>
      zip([
        { name: 'a', content: hundred, size: 2 ** 32 - 2 },
        ...Array.from({ length: 4000 }, (_, i) => ({
          name: `${i}`,
          content: Buffer.alloc(1),
          size: 2 ** 32 - 2,
        })),
      ]),
    /bytes free, what is in the archive needs/,
  ],
  [
    'is damaged (zip)',
    'zip',
    () => zip([{ name: 'a', content: hundred, crc: 1 }]),
    /"a" is damaged \(CRC-32\)/,
  ],
  [
    'is damaged (tar)',
    'tar',
    () => tarEntry({ path: 'a' }, hundred).fill('x', 0, 5),
    /no tar archive, or a damaged one/,
  ],
  [
    'is cut and says it is whole (tar.gz)',
    'tar.gz',
    () => gzipSync(tarEntry({ path: 'a' }, hundred)).subarray(0, 500),
    /no tar archive, or a damaged one/,
  ],
  [
    'is a web page',
    'zip',
    () => Buffer.from('<!doctype html><title>Sign in</title>'),
    /no zip archive, or a damaged one/,
  ],
  ['is empty', 'tar', () => Buffer.alloc(1024), /there is no file in it|no tar archive/],
] as const)
  t.test(`an archive is refused and leaves nothing behind: it ${what}`, async t => {
    const { cache, url } = await fileServer(t, make())
    const to = join(cache, 'deep/to')
    await t.rejects(command.run([`${url}/a.${ending}`, '--to', to]), { code: 'DOWNLOAD_FAILED', message })
    const left = what.startsWith('needs more space') ? [/^to\.[0-9a-f]{12}\.archive$/] : []
    t.match(filesIn(cache), left)
    t.equal(filesIn(cache).length, left.length)
    t.notOk(existsSync(to))
  })

t.test('what is unpacked belongs to who unpacked it, without special rights', async t => {
  const { cache, url } = await fileServer(t, tarEntry({ path: 'a', mode: 0o6777, uid: 1, gid: 1 }, hundred))
  await command.run([`${url}/a.tar`, '--to', join(cache, 'to')])
  const { mode, uid } = statSync(join(cache, 'to/a'))
  t.equal(mode & 0o7000, 0)
  t.equal(uid, process.getuid?.())
})
