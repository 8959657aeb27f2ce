import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { command } from '../../src/commands/pull/pull.js'
import { cachedDirectory } from '../../src/storage/downloads.js'
import { crc32c } from '../../src/storage/orbax/crc32c.js'
import { scratch } from '../support/checkpoint.js'
import { cutWhenWritten } from '../support/cut.js'
import { until } from '../support/server.js'

const COMMIT = '0123456789abcdef0123456789abcdef01234567'
const WEIGHTS = Buffer.from(Uint8Array.from({ length: 200_000 }, (_, i) => (i * i) >> 5))
const README = Buffer.from('# A model\n')
const sha256 = createHash('sha256').update(WEIGHTS).digest('hex')
const gitId = createHash('sha1').update(`blob ${README.length}\0`).update(README).digest('hex')
const googleCrc = Buffer.alloc(4)
googleCrc.writeUInt32BE(crc32c(WEIGHTS))

interface Behaviour {
  /** Bytes after which every answer with weights is cut. */
  cutAfter?: number
  ranges?: boolean
  token?: string
  weights?: Buffer
  /** Status of every answer, as of a repository or a bucket that may not be read. */
  status?: number
  /** Bytes of the weights, as the lists state them. */
  size?: number
}

/** Speaks as Hugging Face's hub and Google Cloud Storage do. */
async function hub(t: Test, behaviour: Behaviour = {}) {
  const asked: string[] = []
  const cache = scratch(t)
  const weights = (request: IncomingMessage, response: ServerResponse) => {
    const body = behaviour.weights ?? WEIGHTS
    const start =
      behaviour.ranges === false ? 0 : Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0)
    asked.push(request.headers.range ?? 'whole')
    response.writeHead(start > 0 ? 206 : 200, { 'content-length': body.length - start })
    const end = start + (behaviour.cutAfter ?? body.length)
    if (end >= body.length) response.end(body.subarray(start))
    else {
      response.write(body.subarray(start, end))
      cutWhenWritten(cache, end, () => response.destroy())
    }
  }
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url!, 'http://host')
    if (behaviour.status) return response.writeHead(behaviour.status).end()
    if (pathname === '/cdn/weights') return weights(request, response)
    if (behaviour.token && request.headers.authorization !== `Bearer ${behaviour.token}`)
      return response.writeHead(401).end()
    const { size = WEIGHTS.length } = behaviour
    const json = (value: unknown) => response.end(JSON.stringify(value))
    if (pathname === '/api/models/owner/name/revision/main' && searchParams.get('blobs') === 'true')
      return json({
        sha: COMMIT,
        cardData: { license: 'gemma' },
        siblings: [
          { rfilename: 'README.md', size: README.length, blobId: gitId },
          { rfilename: 'model.safetensors', size: 135, blobId: 'x', lfs: { sha256, size } },
        ],
      })
    if (pathname === `/owner/name/resolve/${COMMIT}/README.md`) return response.end(README)
    if (pathname === `/owner/name/resolve/${COMMIT}/model.safetensors`)
      return response.writeHead(302, { location: '/cdn/weights' }).end()
    const item = (name: string) => ({ name, size: `${size}`, crc32c: googleCrc.toString('base64') })
    if (pathname === '/storage/v1/b/bucket/o')
      return searchParams.get('pageToken')
        ? json({ items: [item('run/params/d'), item('run-2/other')] })
        : json({ items: [item('run/a')], nextPageToken: 'next' })
    if (pathname.startsWith('/storage/v1/b/bucket/o/run')) return weights(request, response)
    response.writeHead(404).end()
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const { HF_TOKEN: _, ...env } = process.env
  const value = {
    ...env,
    HF_ENDPOINT: endpoint,
    STORAGE_EMULATOR_HOST: endpoint,
    HF_HUB_CACHE: join(cache, 'hub'),
    OPENPI_DATA_HOME: join(cache, 'openpi'),
  }
  t.intercept(process, 'env', { value })
  const printed: string[] = []
  t.intercept(console, 'log', { value: (line: string) => printed.push(line) })
  const told: string[] = []
  t.intercept(console, 'error', { value: (line: string) => told.push(line) })
  return { asked, cache, printed, told, behaviour, env: value as Record<string, string> }
}

t.test('a repository lands in the cache of Hugging Face’s clients, once', async t => {
  const { asked, cache, printed, told } = await hub(t)
  t.equal(cachedDirectory('owner/name'), undefined)
  t.equal(await command.run(['owner/name']), 0)
  const snapshot = join(cache, 'hub/models--owner--name/snapshots', COMMIT)
  t.equal(printed.pop(), snapshot)
  t.match(told.join(), /Licence: gemma/)
  t.same(readFileSync(join(snapshot, 'model.safetensors')), WEIGHTS)
  t.same(readFileSync(join(snapshot, 'README.md')), README)
  t.equal(readFileSync(join(cache, 'hub/models--owner--name/refs/main'), 'utf8'), COMMIT)
  for (const name of ['owner/name', 'hf://owner/name', 'hf://owner/name@main', `owner/name@${COMMIT}`])
    t.equal(cachedDirectory(name), snapshot)
  await command.run(['hf://owner/name'])
  t.same(asked, ['whole'], 'nothing is downloaded twice')
})

t.test(
  'a folder of a bucket lands in openpi’s cache, all its pages and nothing of its neighbour',
  async t => {
    const { cache, printed } = await hub(t)
    await command.run(['gs://bucket/run/'])
    const folder = join(cache, 'openpi/bucket/run')
    t.equal(printed.pop(), folder)
    t.same(readdirSync(folder).sort(), ['a', 'params'])
    t.same(readFileSync(join(folder, 'params/d')), WEIGHTS)
    t.equal(cachedDirectory('gs://bucket/run'), folder)
  },
)

for (let tenth = 1; tenth < 10; tenth++)
  t.test(`a download that is cut every ${tenth} tenths of the file goes on where it was`, async t => {
    const { asked, cache } = await hub(t, { cutAfter: (WEIGHTS.length * tenth) / 10 })
    await command.run(['owner/name', '--to', join(cache, 'to')])
    t.same(readFileSync(join(cache, 'to/model.safetensors')), WEIGHTS)
    const starts = asked.slice(1).map(range => Number(/^bytes=(\d+)-$/.exec(range)?.[1]))
    t.ok(starts.length > 0 && starts[0]! > 0 && starts[0]! <= (WEIGHTS.length * tenth) / 10)
    t.ok(
      starts.every((start, i) => i === 0 || start >= starts[i - 1]!),
      'no byte that came is asked for again',
    )
  })

t.test('where the link stays dead nothing looks whole, and the next run goes on', async t => {
  const { behaviour, cache, asked } = await hub(t, { cutAfter: 0 })
  const to = join(cache, 'to')
  await t.rejects(command.run(['owner/name', '--to', to]), {
    code: 'DOWNLOAD_FAILED',
    message: /same command again/,
  })
  t.notOk(existsSync(to))
  writeFileSync(`${to}.partial/model.safetensors.incomplete`, WEIGHTS.subarray(0, 1000))
  delete behaviour.cutAfter
  await command.run(['owner/name', '--to', to])
  t.equal(asked.at(-1), 'bytes=1000-')
  t.same(readFileSync(join(to, 'model.safetensors')), WEIGHTS)
  await t.rejects(command.run(['owner/name', '--to', to]), { message: /is there already/ })
})

t.test('a server without ranges sends the file anew', async t => {
  const { asked, behaviour, cache } = await hub(t, { cutAfter: 50_000, ranges: false })
  const pulled = command.run(['owner/name', '--to', join(cache, 'to')])
  await until(() => asked.length >= 2, 'it asks again')
  delete behaviour.cutAfter
  await pulled
  t.same(readFileSync(join(cache, 'to/model.safetensors')), WEIGHTS)
})

t.test('bytes of another checksum, or too many, are thrown away', async t => {
  const { behaviour, cache } = await hub(t, { weights: Buffer.alloc(WEIGHTS.length) })
  const to = join(cache, 'to')
  await t.rejects(command.run(['owner/name', '--to', to]), { message: /sha256 checksum is .* expected/ })
  behaviour.weights = Buffer.concat([WEIGHTS, README])
  await t.rejects(command.run(['owner/name', '--to', to]), { message: /more than its 200000 bytes/ })
  t.notOk(existsSync(to))
  t.same(readdirSync(`${to}.partial`), ['README.md'])
})

t.test('refusals say what to do', async t => {
  const { behaviour, env } = await hub(t)
  await t.rejects(command.run(['owner/other']), { message: /no such repository.*404/ })
  await t.rejects(command.run(['gs://nowhere/x']), { message: /404/ })
  await t.rejects(command.run(['nothing']), { code: 'CONFIG_INVALID', message: /takes one source/ })
  behaviour.token = 'secret'
  await t.rejects(command.run(['owner/name']), {
    code: 'DOWNLOAD_FAILED',
    message: /licence on its page and set HF_TOKEN/,
  })
  env['HF_TOKEN'] = 'secret'
  t.equal(await command.run(['owner/name']), 0)
})

t.test('what may not be read: the way forward is that of the source', async t => {
  const { behaviour, cache } = await hub(t, { status: 403 })
  const message = (todo: string) => new RegExp(`access was refused \\(status 403\\)\\.\\n${todo}`)
  await t.rejects(command.run(['owner/name']), {
    code: 'DOWNLOAD_FAILED',
    message: message('Accept its licence on its page and set HF_TOKEN'),
  })
  await t.rejects(command.run(['gs://bucket/run']), {
    code: 'DOWNLOAD_FAILED',
    message: message('Only public buckets are read here'),
  })
  t.same(readdirSync(cache), [], 'and nothing is written')
  delete behaviour.status
  t.equal(await command.run(['owner/name']), 0)
})

t.test('a download that does not fit is refused before its first byte', async t => {
  const { asked, behaviour, cache } = await hub(t, { size: 2 ** 52 })
  for (const source of ['owner/name', 'gs://bucket/run'])
    await t.rejects(command.run([source]), {
      code: 'DOWNLOAD_FAILED',
      message: /has \d+ bytes free, the download needs \d{16}\.\nMake room, or name another place with --to/,
    })
  t.same(asked, [])
  const files = readdirSync(cache, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
  t.same(files, [], 'nothing is left')
  delete behaviour.size
  t.equal(await command.run(['owner/name']), 0)
})
