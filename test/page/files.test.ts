import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { buildPage } from '../support/built-page.js'
import { startServer, stopServers, TestSocket } from '../support/server.js'

const HTML = { headers: { accept: 'text/html' } }

buildPage()
t.teardown(stopServers)

t.test('one address for browsers and for clients of openpi', async t => {
  const { url } = await startServer()
  const page = await fetch(url, HTML)
  t.equal(page.status, 200)
  t.equal(page.headers.get('content-type'), 'text/html; charset=utf-8')
  const policy = page.headers.get('content-security-policy') ?? ''
  t.match(policy, "default-src 'none'")
  t.notMatch(policy, /unsafe|https?:|\*/)
  t.notMatch(await page.text(), /(?:src|href)="(?:https?:)?\/\//, 'nothing is loaded from elsewhere')
  t.equal((await fetch(url)).status, 426)
  const client = new TestSocket(url)
  t.ok((await client.frame()).isBinary, 'the metadata of an openpi server')
  client.socket.terminate()
})

t.test('the files of the page, and no others', async t => {
  const { url } = await startServer()
  for (const [path, type] of [
    ['page/main.js', 'text/javascript; charset=utf-8'],
    ['page/style.css', 'text/css; charset=utf-8'],
    ['page/icon.svg', 'image/svg+xml'],
    ['tabletop/episode.js', 'text/javascript; charset=utf-8'],
    ['errors.js', 'text/javascript; charset=utf-8'],
    ['uplot.js', 'text/javascript; charset=utf-8'],
    ['uplot.css', 'text/css; charset=utf-8'],
  ] as const) {
    const response = await fetch(`${url}/page/${path}`)
    t.equal(response.status, 200, path)
    t.equal(response.headers.get('content-type'), type)
    t.equal(response.headers.get('x-content-type-options'), 'nosniff')
  }
  for (const path of [
    'server.js',
    'page/main.d.ts',
    'page/none.js',
    '%2e%2e/package.json',
    'page/..%2fserver.js',
  ])
    t.equal((await fetch(`${url}/page/${path}`)).status, 404, path)
})

t.test('the API documents have the icon of the page', async t => {
  const { url } = await startServer({ config: { basePath: '/arm-1' } })
  const html = await (await fetch(`${url}/arm-1/docs/`)).text()
  const [, icon = ''] = /<link rel="icon"[^>]* href="([^"]+)"/.exec(html) ?? []
  const response = await fetch(new URL(icon, `${url}/arm-1/docs/`))
  t.equal(response.headers.get('content-type'), 'image/svg+xml')
  t.equal(await response.text(), await (await fetch(`${url}/page/page/icon.svg`)).text())
  t.notMatch(html, 'favicon-32x32')
})

t.test('with an API key the page opens, and asks for it before anything else', async t => {
  const { url } = await startServer({ config: { apiKey: 'sesame' }, runtime: { milliseconds: 1 } })
  t.equal((await fetch(url, HTML)).status, 200)
  t.equal((await fetch(`${url}/page/page/main.js`)).status, 200)
  for (const path of ['figures', 'fleet', 'sessions', 'sessions/a/b/sent', 'sessions/a/b/seen'])
    t.equal((await fetch(`${url}/page/${path}`)).status, 401, path)
  const asking = (key: string) =>
    new TestSocket(`${url}/stream`, [
      'turbo-pi.v1+json',
      `turbo-pi.key.${Buffer.from(key).toString('base64url')}`,
    ])
  t.equal(await asking('wrong').opened(), 401)
  const client = asking('sesame')
  t.match(await client.json(), { type: 'ready' })
  t.equal(client.socket.protocol, 'turbo-pi.v1+json')
  client.socket.terminate()
})

t.test('a connection that a browser opened in advance does not hold up the end', async t => {
  const { app, url } = await startServer()
  const accepted = once(app.server, 'connection')
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  const dropped = once(socket, 'close')
  await accepted
  await app.close()
  await dropped
  t.ok(socket.destroyed)
})
