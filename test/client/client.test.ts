import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { WebSocketServer } from 'ws'
import { PolicyClient } from '../../src/client/client.js'
import {
  type ClientObservation,
  ConnectionError,
  RemoteError,
  rgbImage,
  TurboPiClient,
} from '../../src/client/index.js'
import { jsonCodec } from '../../src/client/transport/json.js'
import { nodeTransport } from '../../src/client/transport/node.js'
import { streamAddress } from '../../src/client/transport/transport.js'
import { encodeMsgpack, NdArray } from '../../src/contract/msgpack.js'
import { FAKE_MODEL } from '../support/fake-policy.js'
import { freePort } from '../support/free-port.js'
import { startServer, stopServers, until } from '../support/server.js'

t.teardown(stopServers)

const observation = (token: number): ClientObservation => ({
  'observation/image': rgbImage(new Uint8Array(48), 4, 4),
  'observation/state': [token, 0],
  prompt: 'do it',
})

t.test('infer', async t => {
  const { url } = await startServer({ runtime: { milliseconds: 1 } })
  const client = await TurboPiClient.connect(url)
  t.match(client.metadata, { policy: 'fake', model: FAKE_MODEL, actionHorizon: 2, actionSize: 2 })
  const chunk = await client.infer(observation(5), {
    seed: 1,
    numSteps: 3,
    deadlineMs: 60_000,
    capturedAt: 100,
  })
  t.same(chunk.actions, [
    [6, 6],
    [6, 6],
  ])
  t.match(chunk, { seq: 0, validUntil: 60_100, late: false, seed: 1, coalesced: false, model: FAKE_MODEL })
  t.equal(chunk.serverTiming['denoise_ms'], 3)
  const noisy = await client.infer(observation(5), { noise: Float32Array.of(1, 2, 3, 4, 5, 6) })
  t.same(noisy.actions, [
    [6, 7],
    [8, 9],
  ])
  t.equal(noisy.seed, null)
  const both = await Promise.all([
    client.infer(observation(1), { seed: 0 }),
    client.infer(observation(2), { seed: 0 }),
  ])
  t.same(
    both.map(answer => answer.actions[0]![0]),
    [1, 2],
    'calls wait for each other instead of superseding',
  )
  await t.rejects(client.infer({ 'observation/state': [1] }), { code: 'OBSERVATION_INVALID' })
  await t.rejects(client.infer(observation(1), { deadlineMs: 1, capturedAt: performance.now() - 5 }), {
    code: 'DEADLINE_EXCEEDED',
  })
  t.ok(await client.infer(observation(1)), 'errors leave it usable')
  t.throws(() => rgbImage(new Uint8Array(5), 4, 4), RangeError)
  await client.close()
})

t.test('options that the server refuses end the call, and the next one is answered', async t => {
  const { url } = await startServer({ runtime: { milliseconds: 1 } })
  await using client = await TurboPiClient.connect(url)
  for (const options of [{ numSteps: 99 }, { deadlineMs: 0 }, { seed: -1 }, { deadlineMs: Number.NaN }]) {
    await t.rejects(client.infer(observation(1), options), RemoteError, JSON.stringify(options))
  }
  t.ok(await client.infer(observation(2)))
})

t.test('a chunk carries guard, truncation, model, session and generation', async t => {
  const { url } = await startServer({
    runtime: { milliseconds: 1 },
    policy: {
      finish: actions => ({
        actions: Float64Array.of(...actions.slice(0, 4)),
        guard: { outOfBounds: 3, clamped: true, bounds: null, findings: [] },
      }),
    },
  })
  await using client = await TurboPiClient.connect(url, { robot: 'arm-1' })
  const first = await client.infer(observation(1))
  t.match(first, {
    guard: { out_of_bounds: 3, clamped: true },
    truncated: false,
    model: FAKE_MODEL,
    session: client.metadata.session,
    generation: 0,
  })
  client.reset()
  await t.rejects(client.infer({ 'observation/state': [1, 0] }), { code: 'OBSERVATION_INVALID' })
  t.match(await client.infer(observation(1)), { generation: 1 })
})

t.test('text frames mean the same', async t => {
  class TextClient extends PolicyClient {
    static async connect(url: string) {
      const client = new TextClient(url, { transport: nodeTransport, codec: jsonCodec }, {})
      await client.open({})
      return client
    }
  }
  const { url } = await startServer({ runtime: { milliseconds: 1 } })
  await using client = await TextClient.connect(url)
  const state = new NdArray('<f8', [2], new Uint8Array(Float64Array.of(5, 0).buffer))
  const chunk = await client.infer(
    { ...observation(0), 'observation/state': state },
    { noise: Float32Array.of(1, 2, 3, 4, 5, 6) },
  )
  t.same(chunk.actions, [
    [6, 7],
    [8, 9],
  ])
  await t.rejects(
    client.infer({ 'observation/image': Buffer.from('no picture'), 'observation/state': [1] }),
    {
      code: 'OBSERVATION_INVALID',
    },
  )
})

t.test('addresses: with and without scheme and path', async t => {
  for (const [url, address] of [
    ['127.0.0.1:8000', 'ws://127.0.0.1:8000/stream'],
    ['localhost', 'ws://localhost/stream'],
    ['http://host:1/', 'ws://host:1/stream'],
    ['https://host/robots', 'wss://host/robots/stream'],
    ['wss://host/stream', 'wss://host/stream'],
    ['ws://host/policies/a/stream/', 'ws://host/policies/a/stream'],
    ['ws://host/?robot=arm', 'ws://host/stream?robot=arm'],
  ] as const)
    t.equal(streamAddress(url), address, url)
  t.throws(() => streamAddress('ftp://host'), /starts with ws, wss, http or https/)
  await t.rejects(TurboPiClient.connect('ftp://host'), TypeError)
})

t.test('connect ends: by its time, its signal, or a refusal', async t => {
  const silent = createServer(() => {})
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address() as AddressInfo
  const url = `ws://127.0.0.1:${port}`
  await t.rejects(TurboPiClient.connect(url, { waitMs: 50 }), { code: 'DEADLINE_EXCEEDED' })
  const abort = new AbortController()
  const connecting = TurboPiClient.connect(url, { signal: abort.signal })
  abort.abort(new Error('never mind'))
  await t.rejects(connecting, /never mind/)
  await t.rejects(TurboPiClient.connect(url, { signal: abort.signal }), /never mind/)
  const server = await startServer({ runtime: { milliseconds: 1 } })
  await t.rejects(TurboPiClient.connect(server.url, { expectedModel: 'other' }), { code: 'MODEL_MISMATCH' })
  await t.rejects(TurboPiClient.connect(server.url, { robot: 'no spaces' }), { code: 'ROBOT_INVALID' })
  silent.closeAllConnections()
  silent.close()
})

t.test('a server that talks nonsense ends the connection, not the process', async t => {
  const nonsense = new WebSocketServer({ port: 0 })
  t.teardown(() => nonsense.close())
  const ready = {
    type: 'ready',
    session: 's',
    metadata: { policy: 'p', model: 'm', action_horizon: 2, action_size: 2, heartbeat_ms: 60_000 },
  }
  const replies = [
    Buffer.from([0xc1]),
    'text',
    encodeMsgpack({ type: 'actions', seq: 'a' }),
    encodeMsgpack([1]),
  ]
  nonsense.on('connection', socket => {
    socket.send(encodeMsgpack(ready))
    socket.on('message', () => socket.send(replies.shift()!))
  })
  const { port } = nonsense.address() as AddressInfo
  await using client = await TurboPiClient.connect(`127.0.0.1:${port}`, { backoffMs: [1, 5] })
  while (replies.length > 0)
    await t.rejects(client.infer(observation(1)), { code: 'FRAME_UNREADABLE', name: 'ConnectionError' })
})

t.test('the link is measured', async t => {
  const { url } = await startServer({ runtime: { milliseconds: 1 } })
  await using client = await TurboPiClient.connect(url)
  const { offsetMs, roundTripMs } = await client.measureLink(60_000)
  t.ok(roundTripMs >= 0)
  const error = Math.abs(performance.timeOrigin - offsetMs)
  t.ok(error < 1000 + roundTripMs / 2, 'both are clocks of this machine')
})

t.test('a stream hands out the freshest chunk', async t => {
  const { url, runtime, accepted } = await startServer()
  const client = await TurboPiClient.connect(url)
  const stream = client.stream()
  t.throws(() => client.stream(), /stream already/)
  await t.rejects(client.infer(observation(1)), /Close the stream/)
  stream.push(observation(1), { seed: 0 })
  await until(() => runtime.open.length === 1, 'the engine works')
  for (let token = 2; token <= 9; token += 1) stream.push(observation(token), { seed: 0 })
  // 1, which the engine has, and in the place of 2 and 3, which were sent at once, 9.
  await accepted(4)
  const engine = setInterval(() => runtime.open[0]?.finish(), 5)
  t.teardown(() => clearInterval(engine))
  const chunks: number[] = []
  for await (const chunk of stream) {
    chunks.push(chunk.actions[0]![0]!)
    if (chunks.at(-1) === 9) stream.close()
  }
  t.equal(chunks.at(-1), 9, 'the newest comes, what nobody fetched in time does not')
  t.equal(runtime.calls.length, 4, 'only the first and the newest were inferred')
  t.throws(() => stream.push(observation(1)), /closed/)
  const again = client.stream()
  again.push({ 'observation/state': [1] })
  await t.rejects(again[Symbol.asyncIterator]().next(), { code: 'OBSERVATION_INVALID' })
  await client.close()
})

t.test('reconnects, with work in flight failed and the stream resumed', async t => {
  const port = await freePort()
  const first = await startServer({ runtime: { milliseconds: 1 }, port })
  const client = await TurboPiClient.connect(first.url, { backoffMs: [5, 50] })
  const lost = new Promise(resolve => client.on('lost', resolve))
  const stream = client.stream()
  stream.push(observation(1), { seed: 0 })
  const chunks = stream[Symbol.asyncIterator]()
  t.equal((await chunks.next()).value.actions[0][0], 1)
  await first.app.close()
  await lost
  stream.push(observation(2), { seed: 0 })
  stream.push(observation(3), { seed: 0 })
  const second = await startServer({ runtime: { milliseconds: 1 }, port })
  t.equal((await chunks.next()).value.actions[0][0], 3, 'only the newest of the outage is sent')
  stream.close()
  second.runtime.hold = true
  const unanswered = client.infer(observation(4))
  await until(() => second.runtime.open.length === 1, 'the engine works')
  for (const socket of second.app.websocketServer.clients) socket.terminate()
  await t.rejects(unanswered, ConnectionError)
  second.runtime.hold = false
  t.ok(await client.infer(observation(5)), 'the next call waits for the new connection')
  await client.close()
})

t.test('a refusal is final, a server that is not up yet is waited for', async t => {
  const { url } = await startServer({ config: { apiKey: 'secret' }, runtime: { milliseconds: 1 } })
  await t.rejects(TurboPiClient.connect(url, { apiKey: 'wrong' }), /status 401/)
  const client = await TurboPiClient.connect(url, { apiKey: 'secret' })
  await client.close()
  await t.rejects(client.infer(observation(1)), ConnectionError)

  const port = await freePort()
  class Early extends PolicyClient {
    readonly refused = new Promise(resolve => this.on('lost', resolve))
    constructor() {
      super(
        `http://127.0.0.1:${port}`,
        { transport: nodeTransport, codec: jsonCodec },
        { backoffMs: [5, 20] },
      )
    }
    connected() {
      return this.open({})
    }
  }
  const early = new Early()
  const connecting = early.connected()
  await early.refused
  await startServer({ runtime: { milliseconds: 1 }, port })
  await connecting
  t.ok(early.ready)
  await early.close()
})
