import t from 'tap'
import { decodeMsgpack, encodeMsgpack, NdArray } from '../../../src/contract/msgpack.js'
import { stoppedClock } from '../../support/clock.js'
import { finishAll } from '../../support/fake-runtime.js'
import { startServer, stopServers, type TestServer, TestSocket, until } from '../../support/server.js'

t.teardown(stopServers)

const JSON_PROTOCOL = 'turbo-pi.v1+json'
const MSGPACK_PROTOCOL = 'turbo-pi.v1+msgpack'

interface Message {
  type: string
  seq: number
  reason: string
  actions: number[][]
  chunk_id: number
  obs_age_ms: number
  valid_until: number | null
  late: boolean
  seed: number
  coalesced: boolean
  error: { code: string; detail: string }
}

const image = {
  data: Buffer.alloc(48).toString('base64'),
  encoding: 'rgb8',
  width: 4,
  height: 4,
}

/** A complete observation message; with seed 0 the answer is the token itself. */
const observe = (seq: number, token = seq, rest: object = {}) => ({
  type: 'observation',
  seq,
  observation: { 'observation/image': image, 'observation/state': [token, 0], prompt: 'do it' },
  options: { seed: 0 },
  ...rest,
})

async function connect({ url }: TestServer): Promise<TestSocket> {
  const client = new TestSocket(`${url}/stream`, [JSON_PROTOCOL])
  t.match(await client.json(), { type: 'ready' })
  return client
}

t.test('ready, then actions for an observation', async t => {
  const server = await startServer({ runtime: { milliseconds: 1 } })
  const { model } = server.service.metadata()
  const client = new TestSocket(`${server.url}/stream`, [JSON_PROTOCOL])
  t.match(await client.json(), {
    type: 'ready',
    session: /^[0-9a-f-]{36}$/,
    metadata: { policy: 'fake', model, action_horizon: 2, action_size: 2, heartbeat_ms: 20_000 },
  })
  t.equal(client.socket.protocol, JSON_PROTOCOL)
  client.send(observe(5))
  const first = await client.json<Message>()
  t.match(first, {
    type: 'actions',
    seq: 5,
    chunk_id: 0,
    valid_until: null,
    late: false,
    seed: 0,
    coalesced: false,
    truncated: false,
    guard: { out_of_bounds: 0, clamped: false },
    server_timing: { vision_ms: 1 },
    model,
  })
  t.same(first.actions, [
    [5, 5],
    [5, 5],
  ])
  t.ok(first.obs_age_ms > 0)
  client.send(observe(9))
  t.match(await client.json(), { seq: 9, chunk_id: 1 })
  client.socket.close()
})

t.test('both wires mean the same', async t => {
  const server = await startServer({ runtime: { milliseconds: 1 } })
  const json = await connect(server)
  json.send(observe(1, 7))
  const fromJson = await json.json<Message>()
  const msgpack = new TestSocket(`${server.url}/stream`, ['unknown', MSGPACK_PROTOCOL])
  t.match(decodeMsgpack((await msgpack.frame()).frame), { type: 'ready' })
  msgpack.send(
    encodeMsgpack({
      type: 'observation',
      seq: 1,
      observation: {
        'observation/image': new NdArray('|u1', [4, 4, 3], new Uint8Array(48)),
        'observation/state': [7, 0],
        prompt: 'do it',
      },
      options: { seed: 0 },
    }),
  )
  const { frame, isBinary } = await msgpack.frame()
  t.ok(isBinary)
  const fromMsgpack = decodeMsgpack(frame) as unknown as Omit<Message, 'actions'> & { actions: NdArray }
  t.same(Object.keys(fromMsgpack), Object.keys(fromJson))
  t.same([...new Float64Array(Uint8Array.from(fromMsgpack.actions.data).buffer)], fromJson.actions.flat())
  json.socket.terminate()
  msgpack.socket.terminate()
})

t.test('fields left out keep their last value', async t => {
  const server = await startServer({ runtime: { milliseconds: 1 } })
  const client = await connect(server)
  const partial = (seq: number, observation: object) => ({
    type: 'observation',
    seq,
    observation,
    options: { seed: 0 },
  })
  client.send(partial(1, { 'observation/state': [1, 0] }))
  t.match(await client.json(), { type: 'error', seq: 1, error: { code: 'OBSERVATION_INVALID' } })
  client.send(observe(2))
  t.match(await client.json(), { type: 'actions', seq: 2 })
  client.send(partial(3, { 'observation/state': [30, 0] }))
  t.same((await client.json<Message>()).actions[0], [30, 30])
  client.send(partial(4, { 'observation/state': [4] }))
  t.match(await client.json(), { type: 'error', seq: 4 })
  client.send(partial(5, {}))
  t.same((await client.json<Message>()).actions[0], [30, 30], 'a refused observation carries nothing over')
  client.send({ type: 'reset' })
  client.send(partial(6, { 'observation/state': [1, 0] }))
  t.match(await client.json(), { type: 'error', seq: 6 }, 'a reset forgets')
  client.socket.terminate()
})

t.test('latest wins', async t => {
  const server = await startServer()
  const { runtime } = server
  const client = await connect(server)
  client.send(observe(1))
  await until(() => runtime.open.length === 1, 'the engine has the first')
  for (const seq of [2, 3, 4]) client.send(observe(seq))
  t.match(await client.json(), { type: 'skipped', seq: 2, reason: 'superseded' })
  t.match(await client.json(), { type: 'skipped', seq: 3, reason: 'superseded' })
  t.notOk(runtime.open[0]?.signal?.aborted, 'what the engine has taken up is finished')
  await finishAll(runtime)
  t.match(await client.json(), { type: 'actions', seq: 1, chunk_id: 0 })
  await finishAll(runtime)
  t.match(await client.json(), { type: 'actions', seq: 4, chunk_id: 1 })
  t.equal(runtime.calls.length, 4, 'the skipped ones never reached the engine')
  const metrics = await (await fetch(`${server.url}/metrics`)).text()
  t.match(metrics, /^turbo_pi_superseded_total 2$/m)
  t.match(metrics, /^turbo_pi_connections\{protocol="turbo-pi.v1\+json"\} 1$/m)
  t.match(metrics, /^turbo_pi_stage_seconds_count\{stage="denoise"\} \d+$/m)
  client.socket.terminate()
})

t.test('one robot’s flood is not another’s delay', async t => {
  const server = await startServer()
  const { runtime } = server
  const [a, b] = [await connect(server), await connect(server)]
  a.send(observe(1))
  await until(() => runtime.open.length === 1, 'the engine is busy')
  b.send(observe(100))
  for (let seq = 2; seq <= 50; seq += 1) a.send(observe(seq))
  for (let seq = 2; seq < 50; seq += 1) t.match(await a.json(), { type: 'skipped', seq })
  await finishAll(runtime)
  t.match(await b.json(), { type: 'actions', seq: 100 })
  t.match(await a.json(), { type: 'actions', seq: 1 })
  t.match(await a.json(), { type: 'actions', seq: 50 })
  t.same(
    runtime.calls.filter(call => call.lane === 'perceive').map(call => call.rows[0]?.tokens[0]),
    [1, 100, 50],
  )
  a.socket.terminate()
  b.socket.terminate()
})

t.test('deadlines', async t => {
  const pass = stoppedClock(t)
  const server = await startServer()
  const { runtime } = server
  const client = await connect(server)
  client.send(observe(1, 1, { captured_at: 1000, sent_at: 1500, deadline_ms: 400 }))
  t.match(await client.json(), { type: 'skipped', seq: 1, reason: 'expired' }, 'too old on arrival')
  t.equal(runtime.calls.length, 0)

  // Timers go on: they are not to give up what is late by this clock.
  client.send(observe(2, 2, { captured_at: 1000, sent_at: 1020, deadline_ms: 600_000 }))
  await until(() => runtime.open.length === 1, 'the engine works')
  client.send(observe(3, 3, { deadline_ms: 600_000 }))
  await server.accepted(2)
  pass(600_000)
  await finishAll(runtime)
  t.match(await client.json(), { type: 'skipped', seq: 3, reason: 'expired' }, 'expired work is not started')
  const late = await client.json<Message>()
  t.match(late, { type: 'actions', seq: 2, late: true, valid_until: 601_000 }, 'late, and marked so')
  t.equal(Math.round(late.obs_age_ms), 600_020, 'its age counts from the capture')

  client.send(observe(4, 4, { captured_at: Date.now(), deadline_ms: 60_000 }))
  await until(() => runtime.open.length === 1, 'the engine works')
  await finishAll(runtime)
  t.match(await client.json(), { type: 'actions', seq: 4, late: false })
  client.socket.terminate()
})

t.test('reset drops what is unanswered', async t => {
  const server = await startServer()
  const { runtime } = server
  const client = await connect(server)
  client.send(observe(1))
  await until(() => runtime.open.length === 1, 'the engine works')
  client.send(observe(2))
  client.send({ type: 'reset' })
  t.match(await client.json(), { type: 'skipped', seq: 1, reason: 'reset' })
  t.match(await client.json(), { type: 'skipped', seq: 2, reason: 'reset' })
  client.send(observe(0))
  await until(() => runtime.calls.length === 2, 'the new one is taken up')
  await finishAll(runtime)
  t.match(await client.json(), { type: 'actions', seq: 0 }, 'numbers start over')
  client.socket.terminate()
})

t.test('robots that see the same share one inference', async t => {
  const server = await startServer()
  const { runtime } = server
  const clients = await Promise.all(Array.from({ length: 8 }, () => connect(server)))
  for (const client of clients) client.send(observe(1, 42))
  await server.accepted(8)
  await finishAll(runtime)
  const answers = await Promise.all(clients.map(client => client.json<Message>()))
  t.equal(runtime.calls.length, 2)
  t.equal(answers.filter(answer => answer.coalesced).length, 7)
  t.equal(new Set(answers.map(answer => JSON.stringify(answer.actions))).size, 1)
  for (const client of clients) client.socket.terminate()
})

t.test('32 callers with one observation, over all wires: one inference, bit-identical answers', async t => {
  const server = await startServer()
  const { runtime, url } = server
  const body = encodeMsgpack({
    'observation/image': new NdArray('|u1', [4, 4, 3], new Uint8Array(48)),
    'observation/state': [42, 0],
    prompt: 'do it',
  })
  const robot = await connect(server)
  const strict = new TestSocket(url)
  await strict.frame()
  const posts = Array.from({ length: 30 }, async () => {
    const response = await fetch(`${url}/infer`, {
      method: 'POST',
      headers: { 'content-type': 'application/msgpack' },
      body,
    })
    return decodeMsgpack(new Uint8Array(await response.arrayBuffer())) as {
      actions: NdArray
      coalesced: boolean
    }
  })
  robot.send({ ...observe(1, 42), options: {} })
  strict.send(body)
  await server.accepted(32)
  await finishAll(runtime)
  const answers = await Promise.all(posts)
  const bytes = answers.map(answer => Buffer.from(answer.actions.data).toString('hex'))
  bytes.push(
    Buffer.from((decodeMsgpack((await strict.frame()).frame) as { actions: NdArray }).actions.data).toString(
      'hex',
    ),
  )
  bytes.push(
    Buffer.from(Float64Array.from((await robot.json<Message>()).actions.flat()).buffer).toString('hex'),
  )
  t.equal(runtime.calls.length, 2, 'one perceive, one act')
  t.equal(bytes.length, 32)
  t.equal(new Set(bytes).size, 1)
  const metrics = await (await fetch(`${url}/metrics`)).text()
  t.match(metrics, /^turbo_pi_coalesced_total 31$/m)
  robot.socket.terminate()
  strict.socket.terminate()
})

t.test('a full queue answers 503 with Retry-After', async t => {
  const { url, runtime, accepted } = await startServer({ queueLimit: 2 })
  const post = (token: number) =>
    fetch(`${url}/infer`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...observe(1, token).observation }),
    })
  const taken = [post(1), post(2), post(3)]
  await accepted(3)
  const refused = await post(4)
  t.equal(refused.status, 503)
  t.equal(refused.headers.get('retry-after'), '1')
  t.match(await refused.json(), { code: 'OVERLOADED' })
  await finishAll(runtime)
  for (const response of await Promise.all(taken)) t.equal(response.status, 200)
})

t.test(
  'robots that each have an observation waiting are not refused for each other, nor for a full queue',
  async t => {
    const server = await startServer({ queueLimit: 1, runtime: { maxBatch: 1 } })
    const { url, runtime, accepted } = server
    const post = (token: number) =>
      fetch(`${url}/infer`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ...observe(1, token).observation }),
      })
    const taken = [post(1), post(2)]
    await accepted(2)
    const robots = await Promise.all(Array.from({ length: 8 }, () => connect(server)))
    for (const seq of [1, 2])
      for (const [at, robot] of robots.entries()) robot.send(observe(seq, 10 * seq + at))
    for (const robot of robots) t.match(await robot.json(), { type: 'skipped', seq: 1, reason: 'superseded' })
    const refused = await post(3)
    t.match(await refused.json(), { code: 'OVERLOADED' })
    await finishAll(runtime)
    for (const robot of robots) t.match(await robot.json(), { type: 'actions', seq: 2 })
    for (const response of await Promise.all(taken)) t.equal(response.status, 200)
    for (const robot of robots) robot.socket.terminate()
  },
)

t.test('errors leave the session usable', async t => {
  const server = await startServer()
  const { runtime } = server
  const client = await connect(server)
  for (const [message, seq, pointer] of [
    [{ type: 'observation' }, null, /\/seq/],
    [{ ...observe(1), seq: -1 }, null, /\/seq/],
    [{ ...observe(1), extra: 1 }, 1, /\/extra/],
    [{ ...observe(1), options: { deadline_ms: 5 } }, 1, /\/options\/deadline_ms/],
    [{ ...observe(1), options: { num_steps: 99 } }, 1, /\/options\/num_steps/],
    [{ ...observe(1), deadline_ms: 0 }, 1, /\/deadline_ms/],
    [{ type: 'observe', seq: 1 }, 1, /"type"/],
    [[], null, /"type"/],
    [
      observe(3, 3, { observation: { ...observe(3).observation, 'observation/image': 'no image' } }),
      3,
      /base64/,
    ],
  ] as const) {
    client.send(message)
    t.match(await client.json(), { type: 'error', seq, error: { detail: pointer } })
  }
  client.send(observe(4))
  await until(() => runtime.open.length === 1, 'the engine works')
  runtime.open[0]?.fail(new Error('worker gone'))
  const failed = await client.json<Message>()
  t.match(failed, { type: 'error', seq: 4, error: { code: 'RUNTIME_FAILED' } })
  client.send(observe(4))
  t.match(await client.json(), { type: 'error', seq: 4, error: { detail: /seq must grow/ } })
  client.send(observe(5))
  await until(() => runtime.open.length === 1, 'the engine works')
  await finishAll(runtime)
  t.match(await client.json(), { type: 'actions', seq: 5 })
  client.socket.terminate()
})

t.test('frames that cannot be read end the connection', async t => {
  const server = await startServer({ config: { bodyLimit: 4096 } })
  const garbage = await connect(server)
  garbage.send('{"type": "observation"')
  t.match(await garbage.json(), { type: 'error', seq: null, error: { code: 'BODY_MALFORMED' } })
  t.equal((await garbage.closed).code, 1007)
  const empty = await connect(server)
  empty.send('')
  t.equal((await empty.closed).code, 1007)
  const binary = await connect(server)
  binary.send(new Uint8Array([1, 2, 3]))
  t.equal((await binary.closed).code, 1003)
  const large = await connect(server)
  large.send('x'.repeat(5000))
  t.equal((await large.closed).code, 1009)
})

t.test('the handshake', async t => {
  const { url } = await startServer()
  t.equal(await new TestSocket(`${url}/stream`).opened(), 400, 'a subprotocol is needed')
  t.equal(await new TestSocket(`${url}/stream`, ['turbo-pi.v2+json']).opened(), 400)
  t.match(await (await fetch(`${url}/asyncapi.json`)).json(), { asyncapi: '3.0.0' })
  const plain = await fetch(`${url}/stream`)
  t.equal(plain.status, 426)
  t.match(await plain.json(), { code: 'UPGRADE_REQUIRED' })
})

t.test('a page of another site cannot open a WebSocket', async t => {
  const { url } = await startServer()
  for (const path of ['/stream', '/']) {
    const opened = (origin: string) => new TestSocket(url + path, [JSON_PROTOCOL], { origin }).opened()
    t.equal(await opened('https://elsewhere.example'), 403, path)
    t.equal(await opened('null'), 403, `${path}, from a file`)
    t.equal(await opened(url), 101, `${path}, from the server's own page`)
  }
})
