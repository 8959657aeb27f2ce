import { request } from 'node:http'
import t from 'tap'
import { startServer, stopServers, type TestServer, TestSocket } from '../../support/server.js'

t.teardown(stopServers)

type Headers = Record<string, string>

/** Status and problem code of a GET. `fetch` does not send a Host of ours. */
function get({ url }: TestServer, path: string, headers: Headers = {}, method = 'GET') {
  return new Promise<{
    status: number
    code: string | undefined
    headers: import('node:http').IncomingHttpHeaders
  }>((resolve, reject) => {
    request(`${url}${path}`, { headers, method }, response => {
      const parts: Buffer[] = []
      response.on('data', part => parts.push(part))
      response.on('end', () => {
        const text = Buffer.concat(parts).toString()
        const { code } = (text.startsWith('{') ? JSON.parse(text) : {}) as { code?: string }
        resolve({ status: response.statusCode ?? 0, code, headers: response.headers })
      })
    })
      .on('error', reject)
      .end()
  })
}

const upgrade = (
  { url }: TestServer,
  path: string,
  headers: Headers = {},
  protocols = ['turbo-pi.v1+json'],
) => {
  const client = new TestSocket(`${url}${path}`, protocols, { headers })
  return client.opened().finally(() => client.socket.terminate())
}

const PATHS = [
  '/healthz',
  '/readyz',
  '/metadata',
  '/metrics',
  '/page/sessions',
  '/docs/json',
  '/policies',
  '/nowhere',
]

t.test(
  'on loopback a foreign Host is refused on every route and upgrade: a page that rebinds its name',
  async t => {
    const server = await startServer()
    for (const path of PATHS)
      t.match(
        await get(server, path, { host: 'evil.example:8000' }),
        { status: 403, code: 'HOST_FORBIDDEN' },
        path,
      )
    t.equal(await upgrade(server, '/stream', { host: 'evil.example' }), 403)
    t.equal(await upgrade(server, '/', { host: 'evil.example' }, []), 403)
    t.match(await get(server, '/healthz', { host: '192.168.0.7' }), { code: 'HOST_FORBIDDEN' })
    for (const host of ['localhost', 'LOCALHOST:8000', '127.0.0.1:1', '127.1.2.3', '[::1]:8000'])
      t.equal((await get(server, '/healthz', { host })).status, 200, host)
    for (const host of [
      'localhost.evil.example',
      '127.0.0.1.evil.example',
      'evil.example:127.0.0.1',
      '[::2]',
    ])
      t.equal((await get(server, '/healthz', { host })).status, 403, host)
  },
)

t.test('names that are allowed, and other addresses than loopback', async t => {
  const named = await startServer({ config: { allowedHosts: ['arm.local'] } })
  t.equal((await get(named, '/healthz', { host: 'arm.local:8000' })).status, 200)
  t.equal((await get(named, '/healthz', { host: 'other.local' })).status, 403)
  t.equal(
    (await get(named, '/healthz', { host: 'arm.local', origin: 'https://arm.local' })).status,
    200,
    'its page behind a proxy that ends TLS',
  )
  const open = await startServer({ config: { host: '0.0.0.0' } })
  t.equal((await get(open, '/healthz', { host: 'any.example' })).status, 200)
  const both = await startServer({ config: { host: '0.0.0.0', allowedHosts: ['arm.local'] } })
  t.equal((await get(both, '/healthz', { host: 'any.example' })).status, 403)
  t.equal(
    (await get(both, '/healthz', { host: '10.0.0.7:8000' })).status,
    200,
    'an address cannot be rebound',
  )
})

t.test('pages of other sites are refused, over HTTP and WebSocket', async t => {
  const server = await startServer()
  const host = new URL(server.url).host
  for (const origin of [
    'https://evil.example',
    'null',
    `https://${host}`,
    'http://127.0.0.1:1',
    'file://',
    'nonsense',
  ]) {
    t.match(await get(server, '/metadata', { origin }), { status: 403, code: 'ORIGIN_FORBIDDEN' }, origin)
    t.equal(await upgrade(server, '/stream', { origin }), 403, origin)
    t.equal(await upgrade(server, '/', { origin }, []), 403, origin)
  }
  t.equal((await get(server, '/metadata', { origin: server.url })).status, 200)
  t.equal(await upgrade(server, '/stream', { origin: server.url }), 101)
})

t.test('--cors-origin lets pages elsewhere read answers', async t => {
  const origin = 'https://dashboard.example'
  const server = await startServer({ config: { corsOrigin: [origin], apiKey: 'secret' } })
  const answer = await get(server, '/readyz', { origin })
  t.equal(answer.headers['access-control-allow-origin'], origin)
  const asked = await get(
    server,
    '/infer',
    { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' },
    'OPTIONS',
  )
  t.equal(asked.status, 204, 'browsers ask without a key')
  t.match(asked.headers['access-control-allow-headers'], /authorization/)
  t.equal(asked.headers['access-control-allow-credentials'], undefined)
  t.equal((await get(server, '/metadata', { origin })).status, 401, 'and need one')
  t.equal(await upgrade(server, '/stream', { origin, authorization: 'Api-Key secret' }), 101)
  t.equal((await get(server, '/readyz', { origin: 'https://evil.example' })).status, 403)
  const closed = await startServer()
  t.equal(
    (await get(closed, '/readyz', { origin: closed.url })).headers['access-control-allow-origin'],
    undefined,
  )
})

t.test('addresses that have no WebSocket refuse upgrades before they open one', async t => {
  const server = await startServer()
  for (const path of [
    '/healthz',
    '/readyz',
    '/metadata',
    '/metrics',
    '/page/page/main.js',
    '/page/sessions',
    '/infer',
    '/docs/',
    '/policies',
    '/nowhere',
  ])
    t.equal(await upgrade(server, path, {}, []), 404, path)
  t.equal(server.app.websocketServer.clients.size, 0)
})

t.test('names that every object has are no files, cameras or sessions', async t => {
  const server = await startServer({ config: { watchSessions: true } })
  for (const name of ['constructor', 'toString', '__proto__', 'valueOf', 'hasOwnProperty'])
    for (const path of [
      `/page/${name}`,
      `/page/sessions/a/${name}`,
      `/page/sessions/${name}/${name}`,
      `/${name}`,
    ])
      t.match(await get(server, path), { status: 404, code: 'NOT_FOUND' }, path)
})

t.test('what a page gets says that nobody may frame it or guess its type', async t => {
  const server = await startServer({ config: { apiKey: 'secret' } })
  for (const [path, headers] of [
    ['/', { accept: 'text/html' }],
    ['/docs/', { authorization: 'Api-Key secret' }],
    ['/docs/static/swagger-initializer.js', { authorization: 'Api-Key secret' }],
    ['/page/page/main.js', {}],
    ['/metadata', { authorization: 'Api-Key secret' }],
    ['/metadata', {}],
    ['/nowhere', {}],
  ] as [string, Headers][]) {
    const { headers: got } = await get(server, path, headers)
    t.equal(got['x-content-type-options'], 'nosniff', path)
    t.equal(got['x-frame-options'], 'DENY', path)
    t.match(got['content-security-policy'], /default-src.*frame-ancestors 'none'/, path)
  }
})
