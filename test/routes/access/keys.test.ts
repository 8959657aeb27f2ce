import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Key } from '../../../src/routes/access/key.js'
import { KeyRing } from '../../../src/routes/access/key-ring.js'
import { startServer, stopServers, type TestServer, TestSocket, until } from '../../support/server.js'

t.teardown(stopServers)

const ARM = { name: 'arm-1', key: 'a'.repeat(32) }
const VIEWER = { name: 'viewer', key: 'b'.repeat(32) }

function keyFile(t: Test, keys: unknown): { apiKeys: string; write(keys: unknown): void } {
  const apiKeys = join(t.testdir(), 'keys.json')
  const write = (keys: unknown) =>
    writeFileSync(apiKeys, typeof keys === 'string' ? keys : JSON.stringify(keys))
  write(keys)
  return { apiKeys, write }
}

const BODY = JSON.stringify({
  'observation/image': { data: Buffer.alloc(48).toString('base64'), encoding: 'rgb8', width: 4, height: 4 },
  'observation/state': [1, 2],
})
const infer = ({ url }: TestServer, key: string) =>
  fetch(`${url}/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: BODY,
  })
const metadata = async ({ url }: TestServer, headers: Record<string, string>) =>
  (await fetch(`${url}/metadata`, { headers })).status
const withKey = (key: string) => ({ authorization: `Api-Key ${key}` })

t.test('several keys with names, read again while the server serves', async t => {
  const { apiKeys, write } = keyFile(t, [ARM, VIEWER])
  const server = await startServer({
    config: { apiKeys, apiKey: 'of-the-environment' },
    runtime: { milliseconds: 1 },
  })
  for (const key of [ARM.key, VIEWER.key, 'of-the-environment'])
    t.equal(await metadata(server, withKey(key)), 200)
  for (const key of ['', 'a', `${ARM.key}a`, 'constructor'])
    t.equal(await metadata(server, withKey(key)), 401)
  const stream = new TestSocket(`${server.url}/stream`, ['turbo-pi.v1+json'], {
    headers: withKey(VIEWER.key),
  })
  await stream.json()

  write('[{"name": "arm-1", "key": "secret of a broken file}]')
  t.throws(
    () => server.app.reloadAccess(),
    { code: 'CONFIG_INVALID', message: /^(?!.*secret).*keys\.json/ },
    'no key in the error',
  )
  t.equal(await metadata(server, withKey(ARM.key)), 200, 'a file that is not valid changes nothing')

  const next = { name: 'arm-2', key: 'c'.repeat(32) }
  write([ARM, next])
  server.app.reloadAccess()
  t.equal(await metadata(server, withKey(next.key)), 200)
  t.equal(await metadata(server, withKey(ARM.key)), 200)
  t.equal(await metadata(server, withKey(VIEWER.key)), 401)
  t.equal((await stream.closed).code, 1008, 'connections of a key that is gone are ended')
})

t.test('files and keys that are refused at the start', async t => {
  const refused = (keys: unknown, message: RegExp) =>
    t.throws(() => new KeyRing(keyFile(t, keys)), { code: 'CONFIG_INVALID', message })
  refused([], /keys\.json/)
  refused({}, /keys\.json/)
  refused([{ name: 'a' }], /\/0\/key is required/)
  refused([{ ...ARM, limit: 3 }], /\/0\/limit/)
  refused([{ ...ARM, requests_per_second: 0 }], /requests_per_second/)
  refused([ARM, { ...VIEWER, name: ARM.name }], /two keys are called arm-1/)
  refused([ARM, { ...VIEWER, key: ARM.key }], /stands there twice/)
  t.throws(() => new KeyRing({ apiKeys: '/nowhere/keys.json' }), {
    code: 'CONFIG_INVALID',
    message: /nowhere/,
  })
  for (const key of ['s3cret\n', ' s3cret', 'two words', 'schlüssel', '鍵', 'a\0b']) {
    t.throws(
      () => new KeyRing({ apiKey: key }),
      { code: 'CONFIG_INVALID', message: /cannot be sent in a header/ },
      JSON.stringify(key),
    )
    refused([{ name: 'a', key }], /cannot be sent in a header/)
  }
})

t.test('a rate allows a burst of one second’s worth, and then as many as time brings', async t => {
  let now = 0
  const key = new Key({ name: 'arm-1', key: 'secret', requestsPerSecond: 3 }, () => now)
  const taken = () => {
    try {
      key.take()
      return true
    } catch (error) {
      t.match(error, { code: 'RATE_LIMITED' })
      return false
    }
  }
  t.same([taken(), taken(), taken(), taken()], [true, true, true, false])
  now = 300
  t.notOk(taken())
  now = 700
  t.same([taken(), taken(), taken()], [true, true, false])
  now = 60_000
  t.same([taken(), taken(), taken(), taken()], [true, true, true, false], 'no more than a burst is saved')
})

t.test('a key has its rate and its share of the engine, over every wire', async t => {
  const { apiKeys } = keyFile(t, [
    { ...ARM, requests_per_second: 0.001 },
    { ...VIEWER, in_flight: 1 },
  ])
  const server = await startServer({ config: { apiKeys } })
  const { runtime, url } = server
  t.equal(await metadata(server, withKey(ARM.key)), 200)
  t.equal(await metadata(server, withKey(ARM.key)), 429)
  const limited = await fetch(`${url}/metadata`, { headers: withKey(ARM.key) })
  t.match(await limited.json(), { code: 'RATE_LIMITED', detail: /arm-1 may send 0\.001 requests a second/ })
  t.ok(Number(limited.headers.get('retry-after')) > 900)
  t.equal(await metadata(server, withKey(VIEWER.key)), 200, 'other keys do not feel it')

  const stream = new TestSocket(`${url}/stream`, ['turbo-pi.v1+json'], { headers: withKey(ARM.key) })
  await stream.json()
  stream.send({ type: 'observation', seq: 1, observation: JSON.parse(BODY) })
  t.match(
    await stream.json(),
    { type: 'error', seq: 1, error: { code: 'RATE_LIMITED' } },
    'observations count as well',
  )
  stream.socket.terminate()

  const first = infer(server, VIEWER.key)
  await until(() => runtime.open.length === 1, 'the engine works')
  t.equal((await infer(server, VIEWER.key)).status, 429)
  runtime.hold = false
  const engine = setInterval(() => runtime.open[0]?.finish(), 5)
  t.equal((await first).status, 200)
  t.equal((await infer(server, VIEWER.key)).status, 200, 'its place is free again')
  clearInterval(engine)
})

t.test('the page’s cookie stands for the key, in links, documents and WebSockets', async t => {
  const { apiKeys, write } = keyFile(t, [ARM, VIEWER])
  const server = await startServer({ config: { apiKeys } })
  const give = (key: unknown, headers: Record<string, string> = {}) =>
    fetch(`${server.url}/page/session`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ key }),
    })
  t.equal((await give('wrong')).status, 401)
  t.equal((await give(3)).status, 400)
  t.equal((await give(VIEWER.key, { origin: 'https://evil.example' })).status, 403)
  const answer = await give(VIEWER.key)
  t.equal(answer.status, 204)
  const [cookie = '', ...attributes] = (answer.headers.get('set-cookie') ?? '').split('; ')
  t.same(attributes.sort(), ['HttpOnly', 'Max-Age=43200', 'Path=/', 'SameSite=Strict'])
  t.notMatch(cookie, VIEWER.key, 'it is not the key')
  for (const path of ['/metadata', '/metrics', '/docs/', '/docs/json', '/page/sessions', '/policies'])
    t.equal((await fetch(server.url + path, { headers: { cookie: `other=1; ${cookie}` } })).status, 200, path)
  const stream = new TestSocket(`${server.url}/stream`, ['turbo-pi.v1+json'], {
    headers: { cookie },
    origin: server.url,
  })
  t.match(await stream.json(), { type: 'ready' })
  t.equal(await metadata(server, { cookie: 'turbo-pi-session=wrong' }), 401)
  t.equal(await metadata(server, { cookie: `${cookie}x` }), 401)
  write([ARM])
  server.app.reloadAccess()
  t.equal(await metadata(server, { cookie }), 401, 'it is worth nothing without the key')
  t.equal((await stream.closed).code, 1008)
})
