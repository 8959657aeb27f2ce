import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { encodeMsgpack, NdArray } from '../../src/contract/msgpack.js'
import { stoppedClock } from '../support/clock.js'
import { finishAll, settle } from '../support/fake-runtime.js'
import { startServer as start, stopServers, type TestServer, TestSocket, until } from '../support/server.js'

t.teardown(stopServers)
const MiB = 2 ** 20
const startServer = (options: Parameters<typeof start>[0] = {}) =>
  start({ runtime: { milliseconds: 1 }, ...options })

const image = new NdArray('|u1', [4, 4, 3], new Uint8Array(48))
const good = { 'observation/image': image, 'observation/state': [1, 2], prompt: 'x' }
const post = (url: string, body: Uint8Array | string, type: string) =>
  fetch(`${url}/infer`, { method: 'POST', headers: { 'content-type': type }, body: Buffer.from(body) })
const postGood = (url: string) => post(url, encodeMsgpack(good), 'application/msgpack')

/** A connection on which half a request is sent; `said` is what came back until it was closed. */
async function raw(server: TestServer, text: string | Buffer) {
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
  let said = ''
  socket
    .on('error', () => {})
    .on('data', data => {
      said += data
    })
  const closed = new Promise<string>(resolve => socket.once('close', () => resolve(said)))
  await once(socket, 'connect')
  socket.write(text)
  return { socket, closed, isOpen: () => !socket.closed }
}
const head = (length: number) =>
  `POST /infer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/msgpack\r\nContent-Length: ${length}\r\n\r\n`
const problemIn = (said: string) => JSON.parse(said.slice(said.indexOf('{'))) as Record<string, unknown>
const writes = (socket: Socket, data: Buffer) => new Promise(resolve => socket.write(data, resolve))

t.test('a refusal costs what it shows, whatever was sent', async t => {
  const { url } = await startServer()
  const size = 2 * MiB
  const bodies = {
    'noise of numbers': `{"options":{"noise":[${'1,'.repeat(size / 2 - 20)}1]}}`,
    'a state of strings': `{"observation/state":[${'"",'.repeat(size / 3 - 20)}""]}`,
    'unknown keys': `{${Array.from({ length: 90_000 }, (_, i) => `"k${i}":1`).join(',')}}`,
    'a prompt of keys': `{"prompt":{${Array.from({ length: 90_000 }, (_, i) => `"k${i}":1`).join(',')}}}`,
    'long keys that begin alike': `{"${'k'.repeat(200)}1":1,"${'k'.repeat(200)}2":1}`,
    'nested arrays': '['.repeat(size / 2) + ']'.repeat(size / 2),
    'one long key': `{"${'~'.repeat(size)}":1}`,
    'a row of 99,000 numbers': `{"options":{"noise":[[${'1,'.repeat(98_999)}1]]}}`,
    'white space': `${' '.repeat(8 * MiB)}{}`,
  }
  for (const [name, body] of Object.entries(bodies)) {
    const response = await post(url, body, 'application/json')
    const text = await response.text()
    t.ok([400, 422].includes(response.status), `${name}: ${response.status}`)
    t.ok(text.length < 20_000, `${name}: an answer of ${text.length} bytes`)
  }
  const arrays = {
    'a state of 15 M numbers': {
      'observation/state': new NdArray('<f2', [15 * MiB], new Uint8Array(30 * MiB)),
    },
    'a key of 30 MB': { ['~'.repeat(30 * MiB)]: 1 },
    'a prompt of zeros and a letter': {
      prompt: new NdArray(`|S${MiB}`, [], new Uint8Array(MiB).fill(120, MiB - 1)),
    },
    'a float image that is no picture': {
      'observation/image': new NdArray('<f2', [3, 2200, 2200], new Uint8Array(2 * 3 * 2200 * 2200)),
    },
  }
  for (const [name, fields] of Object.entries(arrays)) {
    const response = await post(url, encodeMsgpack({ ...good, ...fields }), 'application/msgpack')
    const text = await response.text()
    // The policy of this server does not look at pictures.
    t.equal(response.status, name.includes('image') ? 200 : 422, name)
    t.ok(text.length < 20_000, `${name}: an answer of ${text.length} bytes`)
  }
  const large = `{"options":{"noise":[${'1,'.repeat(15 * MiB)}1]}}`
  t.equal((await post(url, large, 'application/json')).status, 400, '30 MiB of numbers')
  t.equal((await postGood(url)).status, 200, 'and the next one is answered')
})

t.test('the sockets refuse the same', async t => {
  const server = await startServer()
  const client = new TestSocket(`${server.url}/stream`, ['turbo-pi.v1+json'])
  await client.json()
  client.send(`{"type":"observation","seq":1,"observation":{},"options":{"noise":[${'1,'.repeat(MiB)}1]}}`)
  const { error } = await client.json<{ error: { code: string; detail: string } }>()
  t.match(error, { code: 'BODY_MALFORMED', detail: /more than 100000 values/ })
})

t.test('a body of tiny pieces is refused, and its connection closed', async t => {
  const server = await startServer()
  const { socket, closed } = await raw(
    server,
    'POST /infer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
  )
  socket.write('1\r\na\r\n'.repeat(6000))
  t.match(problemIn(await closed), { code: 'BODY_MALFORMED', detail: /pieces of 1\.0 bytes/ })
})

t.test(
  'of a body of tiny pieces hardly more is read than what shows it, whether anybody reads the body or not',
  async t => {
    const server = await startServer()
    const asked = {
      'a body': 'POST /infer HTTP/1.1\r\nContent-Type: application/json',
      'another type': 'POST /infer HTTP/1.1\r\nContent-Type: text/plain',
      'no route': 'POST /nowhere HTTP/1.1\r\nContent-Type: application/json',
      'a GET': 'GET /healthz HTTP/1.1',
    }
    for (const [name, head] of Object.entries(asked)) {
      const accepted = once(server.app.server, 'connection') as Promise<[Socket]>
      const { socket, closed } = await raw(
        server,
        `${head}\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n`,
      )
      const [theirs] = await accepted
      socket.write('1\r\na\r\n'.repeat(1e6))
      await closed
      await until(() => theirs.destroyed, 'it is closed')
      t.ok(theirs.bytesRead < MiB, `${name}: ${theirs.bytesRead} bytes`)
    }
  },
)

t.test('a refusal waits while others are being answered, and keeps no memory', async t => {
  const server = await startServer({ runtime: {}, config: { requestMemory: 4 * MiB } })
  const robot = postGood(server.url)
  await server.accepted(1)
  const large = { ...good, 'observation/image': new NdArray('|u1', [MiB, 3], new Uint8Array(3 * MiB)) }
  const bad: Promise<Response>[] = []
  for (let sent = 1; sent <= 3; sent += 1) {
    bad.push(post(server.url, encodeMsgpack(large), 'application/msgpack'))
    while ((await server.service.metrics.errors()) < sent) await sleep(1)
    if (sent === 1) t.equal(await Promise.race([...bad, sleep(20)]), undefined, 'it is not answered yet')
  }
  for (const refused of bad) t.equal((await refused).status, 422)
  await finishAll(server.runtime)
  t.equal((await robot).status, 200)
  t.equal((await post(server.url, encodeMsgpack(large), 'application/msgpack')).status, 422)
})

t.test('bodies that come in whole are read in any pieces', async t => {
  const server = await startServer()
  const body = Buffer.from(encodeMsgpack({ ...good, prompt: 'y' }))
  const { socket, closed } = await raw(server, head(body.length).replace('\r\n', '\r\nConnection: close\r\n'))
  for (const byte of body) socket.write(Buffer.of(byte))
  t.match(await closed, /^HTTP\/1\.1 200/)
})

t.test('what is being received is bounded in all, and costs whoever sends most', async t => {
  const server = await startServer({ config: { requestMemory: 4 * MiB } })
  const held: Awaited<ReturnType<typeof raw>>[] = []
  for (let i = 0; i < 4; i += 1) {
    const half = await raw(server, head(2 * MiB))
    await writes(half.socket, Buffer.alloc(1.4 * MiB))
    held.push(half)
  }
  await until(() => held.filter(({ isOpen }) => isOpen()).length <= 2, 'some are dropped')
  const dropped = held.find(({ isOpen }) => !isOpen())!
  t.match(problemIn(await dropped.closed), { code: 'OVERLOADED', detail: /--request-memory/ })
  t.equal((await postGood(server.url)).status, 200, 'a small one beside them is answered')

  const client = new TestSocket(`${server.url}/stream`, ['turbo-pi.v1+msgpack'])
  await client.frame()
  for (const { socket } of held) socket.destroy()
  const large = new Uint8Array(5 * MiB)
  client.send(encodeMsgpack({ type: 'observation', seq: 1, observation: { prompt: large } }))
  t.equal((await client.closed).code, 1013, 'a frame counts, too')
})

t.test('a request has so much time to come in', async t => {
  const server = await startServer({ config: { requestTimeout: 300 } })
  for (const text of [`${head(100)}a`, 'GET /healthz HTTP/1.1\r\nHo']) {
    const { closed } = await raw(server, text)
    t.match(problemIn(await closed), { code: 'REQUEST_TIMEOUT', status: 408 })
  }
})

t.test('one connection too many takes the place of the longest silent one', async t => {
  const server = await startServer({ config: { maxConnections: 4 }, runtime: {} })
  const robot = new TestSocket(`${server.url}/stream`, ['turbo-pi.v1+msgpack'])
  await robot.frame()
  const silent = []
  for (let i = 0; i < 3; i += 1) silent.push(await raw(server, 'GET /healthz HTTP/1.1\r\n'))
  robot.send(encodeMsgpack({ type: 'observation', seq: 1, observation: good }))
  await server.accepted(1)
  const late = await raw(server, '')
  await silent[0]!.closed
  t.same(
    silent.map(({ isOpen }) => isOpen()),
    [false, true, true],
  )
  t.ok(late.isOpen())
  for (let i = 0; i < 8; i += 1) await raw(server, '')
  await finishAll(server.runtime)
  t.ok((await robot.frame()).frame.includes('actions'), 'who waits for an answer gets it')
})

t.test('requests that have not come in whole do not hold up the end', async t => {
  const server = await startServer()
  const header = await raw(server, 'GET /healthz HTTP/1.1\r\nHo')
  const begun = once(server.app.server, 'request')
  const half = await raw(server, `${head(100)}a`)
  await begun
  await settle()
  const start = performance.now()
  await server.app.close()
  t.ok(performance.now() - start < 20_000)
  t.match(problemIn(await half.closed), { code: 'SHUTTING_DOWN' })
  await header.closed
})

t.test('fields that are carried over are bounded, and a robot is told when they are let go of', async t => {
  // What is held for long costs more than what is held for less, and a busy machine makes it long.
  stoppedClock(t)
  const server = await startServer({ config: { requestMemory: MiB } })
  const clients = []
  for (const side of [100, 430, 430]) {
    const client = new TestSocket(`${server.url}/stream`, ['turbo-pi.v1+msgpack'])
    await client.frame()
    const picture = new NdArray('|u1', [side, side, 3], new Uint8Array(side * side * 3))
    client.send(
      encodeMsgpack({ type: 'observation', seq: 1, observation: { ...good, 'observation/image': picture } }),
    )
    await client.frame()
    clients.push(client)
  }
  const answers = []
  for (const client of clients) {
    client.send(encodeMsgpack({ type: 'observation', seq: 2, observation: { prompt: 'z' } }))
    const { frame } = await client.frame()
    answers.push(frame.includes('let go of') ? 'told' : frame.includes('actions') ? 'answered' : 'other')
  }
  t.equal(answers[0], 'answered', 'the small one keeps what it has')
  t.equal(answers.filter(answer => answer === 'told').length, 1)
})
