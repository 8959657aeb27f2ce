import t from 'tap'
import { buildPage } from '../support/built-page.js'
import { startServer, stopServers, TestSocket } from '../support/server.js'

t.teardown(stopServers)
buildPage()

const HTML = { accept: 'text/html' }

t.test('under a base path, whether the proxy leaves it in the address or not', async t => {
  const { url } = await startServer({ config: { basePath: '/arm-1', apiKey: 'secret' } })
  const authorization = 'Api-Key secret'
  for (const base of ['', '/arm-1']) {
    t.equal((await fetch(`${url}${base}/healthz`)).status, 200, base)
    t.equal((await fetch(`${url}${base}/`, { headers: HTML })).status, 200)
    t.equal((await fetch(`${url}${base}/page/page/main.js`)).status, 200)
    const policies = await fetch(`${url}${base}/policies`, { headers: { authorization } })
    t.match(await policies.json(), [{ path: '/arm-1/policies/default/' }])
    const stream = new TestSocket(`${url}${base}/stream`, ['turbo-pi.v1+json'], {
      headers: { authorization },
    })
    t.match(await stream.json(), { type: 'ready' })
    stream.socket.terminate()
    const document = await (await fetch(`${url}${base}/docs/json`, { headers: { authorization } })).json()
    t.match(document, { servers: [{ url: '/arm-1' }] })
  }
  const docs = await (await fetch(`${url}/arm-1/docs`, { headers: { authorization } })).text()
  t.match(docs, 'src="/arm-1/docs/static/')
  t.equal(
    (await fetch(`${url}/arm-10/healthz`, { headers: { authorization } })).status,
    404,
    'another path that begins alike',
  )
  const bare = await fetch(`${url}/arm-1`, { headers: HTML, redirect: 'manual' })
  t.equal(bare.headers.get('location'), '/arm-1/', 'relative links need the slash')
  const login = await fetch(`${url}/arm-1/page/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ key: 'secret' }),
  })
  t.match(login.headers.get('set-cookie'), /; Path=\/arm-1(;|$)/)
})

t.test('every link of the page is relative, so that it holds under any path', async t => {
  const { url } = await startServer()
  const page = await (await fetch(url, { headers: HTML })).text()
  const links = [...page.matchAll(/(?:href|src)="([^"#]*)"/g)].map(([, link]) => link!)
  t.ok(links.length > 5)
  t.same(
    links.filter(link => link.startsWith('/')),
    [],
  )
  for (const link of links) t.equal((await fetch(new URL(link, `${url}/`))).status, 200, link)
})

t.test('X-Forwarded headers are believed of trusted proxies alone', async t => {
  const forwarded = {
    'x-forwarded-host': 'arm.example',
    'x-forwarded-proto': 'https',
    'x-forwarded-for': '203.0.113.7',
  }
  const origin = 'https://arm.example'
  const plain = await startServer({ config: { allowedHosts: ['other.example'] } })
  t.equal((await fetch(`${plain.url}/readyz`, { headers: { ...forwarded, origin } })).status, 403)
  t.equal((await fetch(`${plain.url}/readyz`, { headers: forwarded })).status, 200, 'its own name counts')

  const behind = await startServer({
    config: { trustProxy: ['loopback'], host: '0.0.0.0', apiKey: 'secret' },
  })
  t.equal(
    (await fetch(`${behind.url}/readyz`, { headers: { ...forwarded, origin } })).status,
    200,
    'its page',
  )
  t.equal(
    (await fetch(`${behind.url}/readyz`, { headers: { ...forwarded, origin: 'http://arm.example' } })).status,
    403,
  )
  const login = await fetch(`${behind.url}/page/session`, {
    method: 'POST',
    headers: { ...forwarded, origin, 'content-type': 'application/json' },
    body: JSON.stringify({ key: 'secret' }),
  })
  t.match(login.headers.get('set-cookie'), /; Secure/)
  const guarded = await startServer({ config: { trustProxy: ['loopback'] } })
  t.equal(
    (await fetch(`${guarded.url}/readyz`, { headers: forwarded })).status,
    403,
    'on loopback the name counts that the proxy was called by',
  )
})
