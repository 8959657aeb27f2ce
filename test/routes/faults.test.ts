import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t, { type Test } from 'tap'
import { encodeMsgpack, NdArray } from '../../src/contract/msgpack.js'
import { finishAll } from '../support/fake-runtime.js'
import { startServer, stopServers, type TestServer, TestSocket, until } from '../support/server.js'

t.teardown(stopServers)

const STREAM = ['turbo-pi.v1+json']

const image = { data: Buffer.alloc(48).toString('base64'), encoding: 'rgb8', width: 4, height: 4 }

const observe = (seq: number, token = seq) => ({
  type: 'observation',
  seq,
  observation: { 'observation/image': image, 'observation/state': [token, 0] },
  options: { seed: 0 },
})

const request = (token: number) =>
  encodeMsgpack({
    'observation/image': new NdArray('|u1', [4, 4, 3], new Uint8Array(48)),
    'observation/state': [token, 0],
    prompt: 'do it',
  })

async function robot(server: TestServer): Promise<TestSocket> {
  const client = new TestSocket(`${server.url}/stream`, STREAM)
  await client.json()
  return client
}

/** A robot that is answered shows that the server is well. */
async function isServed(t: Test, server: TestServer, client: TestSocket, seq: number): Promise<void> {
  client.send(observe(seq, 7))
  await until(() => server.runtime.open.length > 0, 'the engine works')
  await finishAll(server.runtime)
  t.match(await client.json(), {
    type: 'actions',
    seq,
    actions: [
      [7, 7],
      [7, 7],
    ],
  })
}

const connections = ({ app }: TestServer) => app.websocketServer.clients.size

t.test('half-open sockets are found by the heartbeat, and their work is dropped', async t => {
  const server = await startServer({ config: { heartbeat: 500 } })
  const alive = await robot(server)
  const dead = await robot(server)
  dead.send(observe(1))
  await until(() => server.runtime.open.length === 1, 'the engine works')
  // It answers no ping from here on.
  dead.socket.pause()
  await until(() => connections(server) === 1, 'it is found')
  await until(() => server.runtime.calls[0]?.signal?.aborted === true, 'its work is cancelled')
  dead.socket.resume()
  t.equal((await dead.closed).code, 1006)
  for (let beat = 0; beat < 3; beat += 1) await once(alive.socket, 'ping')
  t.equal(connections(server), 1)
  await isServed(t, server, alive, 1)
  alive.socket.terminate()
})

t.test('a server that stood still drops nobody who answers', async t => {
  const server = await startServer({ config: { heartbeat: 200 } })
  const client = await robot(server)
  for (const milliseconds of [240, 1000]) {
    await once(client.socket, 'ping')
    // Its pong is on the way, and the next heartbeats are due before it is read.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
    for (let beat = 0; beat < 2; beat += 1) await once(client.socket, 'ping')
    t.equal(client.socket.readyState, client.socket.OPEN, `${milliseconds} ms`)
  }
  await isServed(t, server, client, 1)
  client.socket.terminate()
})

t.test('1000 connects and drops leave nothing behind', async t => {
  const server = await startServer()
  const steady = await robot(server)
  setFlagsFromString('--expose-gc')
  const gc: () => void = runInNewContext('gc')
  const churn = async (rounds: number) => {
    for (let round = 0; round < rounds; round += 1) {
      const clients = Array.from({ length: 20 }, (_, at) =>
        at % 2 ? new TestSocket(`${server.url}/stream`, STREAM) : new TestSocket(server.url),
      )
      await Promise.all(clients.map(client => client.frame()))
      clients.forEach((client, at) => {
        // Some leave politely, some in the middle of a request, some just go.
        if (at % 4 === 0) client.send(request(at))
        if (at % 4 === 1) client.send(observe(at))
        if (at % 3 === 0) client.socket.close()
        else client.socket.terminate()
      })
      await Promise.all(clients.map(client => client.closed))
    }
    await until(() => connections(server) === 1, 'the server has seen them go')
    await finishAll(server.runtime)
    gc()
    return process.memoryUsage().heapUsed
  }
  const before = await churn(25)
  const after = await churn(50)
  t.ok(after - before < 4 * 2 ** 20, `${Math.round((after - before) / 1024)} KiB more after 1000 connections`)
  const metrics = await (await fetch(`${server.url}/metrics`)).text()
  t.match(metrics, /^turbo_pi_connections\{protocol="openpi"\} 0$/m)
  t.match(metrics, /^turbo_pi_queue_depth 0$/m)
  await isServed(t, server, steady, 1)
  steady.socket.terminate()
})

t.test('memory stays flat over a long stream', async t => {
  const server = await startServer({ runtime: { milliseconds: 0, maxBatch: 4 } })
  const client = await robot(server)
  setFlagsFromString('--expose-gc')
  const gc: () => void = runInNewContext('gc')
  let seq = 0
  const play = async (count: number) => {
    for (let sent = 0; sent < count; sent += 1) {
      client.send(observe((seq += 1)))
      await client.frame()
      server.runtime.calls.length = 0
    }
    gc()
    return process.memoryUsage().heapUsed
  }
  const before = await play(300)
  const after = await play(1000)
  t.ok(
    after - before < 2 * 2 ** 20,
    `${Math.round((after - before) / 1024)} KiB more after 1000 observations`,
  )
  client.socket.terminate()
})

t.test('a client that never reads is dropped with 1013, the others are served', async t => {
  const server = await startServer({
    runtime: { milliseconds: 0 },
    config: { sendBuffer: 65_536 },
    policy: {
      actionSize: 50_000,
      finish: () => ({
        actions: new Float64Array(100_000),
        guard: { outOfBounds: 0, clamped: false, bounds: null, findings: [] },
      }),
    },
  })
  const reader = new TestSocket(server.url)
  await reader.frame()
  const deaf = new TestSocket(server.url)
  await deaf.frame()
  const closes: number[] = []
  for (const socket of server.app.websocketServer.clients) {
    const close = socket.close.bind(socket)
    socket.close = (code, reason) => {
      closes.push(code ?? 0)
      close(code, reason)
    }
  }
  deaf.socket.pause()
  for (let sent = 0; sent < 40; sent += 1) deaf.send(request(sent))
  await until(() => closes.includes(1013), 'the slow reader is told to go')
  await until(() => connections(server) === 1, 'it is gone')
  reader.send(request(1))
  t.equal((await reader.frame()).frame.byteLength > 800_000, true)
  reader.socket.terminate()
  deaf.socket.terminate()
})

t.test('frames of 0, 1 and 100 MB, and garbage', async t => {
  const server = await startServer()
  const steady = await robot(server)
  const frames: [path: string, frame: Uint8Array | string, code: number][] = [
    ['/stream', '', 1007],
    ['/stream', 'x', 1007],
    ['/stream', new Uint8Array(1), 1003],
    ['/', new Uint8Array(0), 1011],
    ['/', new Uint8Array(1), 1011],
    ['/', 'x', 1011],
    ['/', Buffer.alloc(1000, 0x84), 1011],
    ['/stream', Buffer.alloc(100 * 2 ** 20), 1009],
    ['/', Buffer.alloc(100 * 2 ** 20), 1009],
  ]
  for (const [path, frame, code] of frames) {
    const client = new TestSocket(server.url + path, path === '/' ? [] : STREAM)
    await client.frame()
    client.send(frame)
    t.equal((await client.closed).code, code, `${frame.length} bytes to ${path}`)
  }
  await until(() => connections(server) === 1, 'all of them are gone')
  await isServed(t, server, steady, 1)
  steady.socket.terminate()
})

t.test('a client that has left before its turn costs no inference', async t => {
  const server = await startServer()
  const body = JSON.stringify(observe(1).observation)
  const post = `POST /infer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  const connected = once(server.app.server, 'connection')
  const gone = connectTcp(Number(new URL(server.url).port), '127.0.0.1')
  gone.write(post, () => gone.resetAndDestroy())
  const [heard] = await connected
  // `once` of node:events would reject with the reset, which the server may read first.
  if (!heard.closed) await new Promise(resolve => heard.once('close', resolve))
  const steady = await robot(server)
  await isServed(t, server, steady, 1)
  t.equal(server.runtime.calls.length, 2, 'perceive and act of the robot alone')
  steady.socket.terminate()
})

t.test('bytes that are no WebSocket', async t => {
  const server = await startServer()
  const steady = await robot(server)
  const { port } = new URL(server.url)
  const upgrade =
    'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
  for (const bytes of [
    Buffer.from('\x00\xff\x12garbage\r\n\r\n', 'latin1'),
    Buffer.from(`${upgrade}GET / HTTP/1.1\r\n\r\n`),
    Buffer.concat([Buffer.from(upgrade), Buffer.alloc(4096, 0xff)]),
    Buffer.from(upgrade.replace('13', '99')),
    Buffer.from(upgrade.replace('GET / ', 'GET /nowhere ')),
  ]) {
    const raw = connectTcp(Number(port), '127.0.0.1')
    raw.on('error', () => {})
    raw.write(bytes)
    raw.resume()
    await new Promise(resolve => raw.once('close', resolve))
  }
  t.pass('every one of them is hung up')
  await until(() => connections(server) === 1, 'the server has forgotten them')
  await isServed(t, server, steady, 1)
  steady.socket.terminate()
})

t.test('an engine that fails mid-inference fails its batch alone', async t => {
  const server = await startServer({ runtime: { maxBatch: 2 } })
  const robots = await Promise.all(Array.from({ length: 4 }, () => robot(server)))
  const strict = new TestSocket(server.url)
  await strict.frame()
  robots[0]!.send(observe(1))
  await until(() => server.runtime.open.length === 1, 'the first is under way')
  for (const [at, client] of robots.slice(1).entries()) client.send(observe(1, at + 2))
  await server.accepted(4)
  server.runtime.open[0]?.fail(new Error('the worker was killed'))
  t.match(await robots[0]!.json(), { type: 'error', seq: 1, error: { code: 'RUNTIME_FAILED' } })
  await finishAll(server.runtime)
  for (const [at, client] of robots.slice(1).entries()) {
    t.match(await client.json(), {
      type: 'actions',
      seq: 1,
      actions: [
        [at + 2, at + 2],
        [at + 2, at + 2],
      ],
    })
  }
  strict.send(request(1))
  await until(() => server.runtime.open.length === 1, 'the next is under way')
  server.runtime.open[0]?.fail(new Error('the worker was killed again'))
  t.match((await strict.frame()).frame.toString(), /RUNTIME_FAILED/)
  t.equal((await strict.closed).code, 1011)
  await isServed(t, server, robots[0]!, 2)
  for (const client of robots) client.socket.terminate()
})

t.test('a server that closes delivers what it has accepted, then says goodbye with 1001', async t => {
  const server = await startServer({ runtime: { maxBatch: 2 } })
  const { service, app, runtime, url } = server
  const robots = await Promise.all(Array.from({ length: 3 }, () => robot(server)))
  const strict = new TestSocket(url)
  await strict.frame()
  for (const [at, client] of robots.entries()) client.send(observe(1, at))
  strict.send(request(10))
  const posted = fetch(`${url}/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/msgpack' },
    body: request(11),
  })
  await until(() => runtime.open.length === 1, 'the engine works')
  await server.accepted(5)
  const closing = service.close()
  t.equal((await fetch(`${url}/readyz`)).status, 503, 'not ready at once')
  t.equal((await fetch(`${url}/healthz`)).status, 200, 'but alive')
  robots[0]!.send(observe(2))
  const closed = closing.then(() => app.close())
  const engine = setInterval(() => runtime.open[0]?.finish(), 5)
  t.equal((await posted).status, 200)
  await closed
  clearInterval(engine)
  const replies: unknown[] = []
  while (robots[0]!.unread > 0) replies.push(await robots[0]!.json())
  t.match(
    replies.find(reply => (reply as { seq: number }).seq === 1),
    { type: 'actions' },
  )
  t.match(
    replies.find(reply => (reply as { seq: number }).seq === 2),
    {
      type: 'error',
      error: { code: 'SHUTTING_DOWN' },
    },
  )
  for (const client of robots.slice(1)) t.match(await client.json(), { type: 'actions', seq: 1 })
  t.ok((await strict.frame()).isBinary, 'the request is answered')
  for (const client of [...robots, strict]) t.equal((await client.closed).code, 1001)
})
