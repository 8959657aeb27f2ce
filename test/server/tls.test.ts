import { writeFileSync } from 'node:fs'
import { type Agent, type AgentOptions, get, Agent as HttpsAgent } from 'node:https'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { tlsOptions } from '../../src/server/tls.js'
import { certificate } from '../support/certificates.js'
import { startServer, stopServers, TestSocket } from '../support/server.js'

t.teardown(stopServers)

const authority = certificate('turbo-pi test authority')

function files(t: Test, made = certificate('localhost', authority)) {
  const folder = t.testdir()
  const paths = {
    tlsCert: join(folder, 'cert.pem'),
    tlsKey: join(folder, 'key.pem'),
    tlsClientCa: join(folder, 'ca.pem'),
  }
  const write = ({ cert, key }: { cert: string; key: string }) => {
    writeFileSync(paths.tlsCert, cert)
    writeFileSync(paths.tlsKey, key)
  }
  write(made)
  writeFileSync(paths.tlsClientCa, authority.cert)
  return { ...paths, write }
}

/** Status of /healthz and the serial number of the certificate that answered. */
function health(url: string, options: AgentOptions): Promise<{ status: number; serial: string }> {
  const agent: Agent = new HttpsAgent({ ...options, keepAlive: false })
  return new Promise((resolve, reject) => {
    get(`${url}/healthz`, { agent }, response => {
      const { serialNumber } = (response.socket as import('node:tls').TLSSocket).getPeerCertificate()
      response.resume()
      resolve({ status: response.statusCode ?? 0, serial: serialNumber })
    }).on('error', reject)
  })
}

t.test('HTTPS and WSS, and another certificate without a new start', async t => {
  const { tlsCert, tlsKey, write } = files(t)
  const { url, app } = await startServer({ config: { tlsCert, tlsKey } })
  t.match(url, /^https:/)
  const first = await health(url, { ca: authority.cert })
  t.equal(first.status, 200)
  await t.rejects(health(url, {}), { code: /UNABLE_TO_VERIFY|SELF_SIGNED|UNABLE_TO_GET_ISSUER/ })
  const client = new TestSocket(`${url}/stream`, ['turbo-pi.v1+json'], {
    ca: authority.cert,
    origin: url,
  })
  t.match(await client.json(), { type: 'ready' }, 'a page of this server, over WSS')

  write({ cert: 'no certificate', key: '' })
  t.throws(() => app.reloadAccess(), { code: 'CONFIG_INVALID', message: /cert\.pem/ })
  t.equal((await health(url, { ca: authority.cert })).serial, first.serial, 'a bad file changes nothing')
  write(certificate('localhost', authority))
  app.reloadAccess()
  const second = await health(url, { ca: authority.cert })
  t.equal(second.status, 200)
  t.not(second.serial, first.serial)
  t.equal(client.socket.readyState, client.socket.OPEN, 'connections of before go on')
  client.socket.terminate()
})

t.test('mutual TLS: callers without a certificate of the authority are refused', async t => {
  const { tlsCert, tlsKey, tlsClientCa } = files(t)
  const { url } = await startServer({ config: { tlsCert, tlsKey, tlsClientCa } })
  const robot = certificate('arm-1', authority)
  const stranger = certificate('stranger')
  t.equal((await health(url, { ca: authority.cert, ...robot })).status, 200)
  await t.rejects(health(url, { ca: authority.cert }))
  await t.rejects(health(url, { ca: authority.cert, ...stranger }))
  const refused = new TestSocket(`${url}/stream`, ['turbo-pi.v1+json'], { ca: authority.cert })
  t.equal((await refused.closed).code, 1006)
  const taken = new TestSocket(`${url}/stream`, ['turbo-pi.v1+json'], { ca: authority.cert, ...robot })
  t.match(await taken.json(), { type: 'ready' })
  taken.socket.terminate()
})

t.test('files that cannot be used are refused by name', async t => {
  const { tlsCert, tlsKey, write } = files(t)
  t.equal(tlsOptions({}), undefined)
  t.throws(() => tlsOptions({ tlsCert: '/nowhere.pem', tlsKey }), {
    code: 'CONFIG_INVALID',
    message: /--tls-cert \/nowhere\.pem/,
  })
  t.ok(tlsOptions({ tlsCert, tlsKey }))
  write({ ...certificate('a'), key: certificate('b').key })
  t.throws(() => tlsOptions({ tlsCert, tlsKey }), { code: 'CONFIG_INVALID', message: /its own key/ })
})
