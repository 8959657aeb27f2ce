import { once } from 'node:events'
import t from 'tap'
import { TurboPiError } from '../../../src/errors.js'
import { stoppedClock } from '../../support/clock.js'
import { FAKE_MODEL, fakePolicy } from '../../support/fake-policy.js'
import { finishAll } from '../../support/fake-runtime.js'
import { startServer, stopServers, type TestServer, TestSocket, until } from '../../support/server.js'

t.teardown(stopServers)

const PROTOCOL = 'turbo-pi.v1+json'
const observe = (seq: number, rest: object = {}) => ({
  type: 'observation',
  seq,
  observation: {
    'observation/image': { data: Buffer.alloc(48).toString('base64'), encoding: 'rgb8', width: 4, height: 4 },
    'observation/state': [seq, 0],
    prompt: 'do it',
  },
  options: { seed: 0 },
  ...rest,
})

async function connect({ url }: TestServer, hello?: object): Promise<TestSocket> {
  const client = new TestSocket(`${url}/stream`, [PROTOCOL])
  t.match(await client.json(), { type: 'ready' })
  if (!hello) return client
  client.send({ type: 'hello', ...hello })
  return client
}

t.test('ready tells what the server takes, which run of it this is, and its time', async t => {
  const server = await startServer({ runtime: { milliseconds: 1 } })
  const [a, b] = [
    new TestSocket(`${server.url}/stream`, [PROTOCOL]),
    new TestSocket(`${server.url}/stream`, [PROTOCOL]),
  ]
  const before = Date.now()
  const [first, second] = [await a.json(), await b.json()]
  t.match(first, { features: ['hello', 'time', 'heartbeat'], metadata: { model: FAKE_MODEL } })
  const told = first['server_time'] as number
  t.ok(told > before - 5000 && told < Date.now() + 5000)
  t.equal(first['instance'], second['instance'], 'of one server')
  t.not(first['session'], second['session'])
  a.socket.terminate()
  b.socket.terminate()
})

t.test('a client that says no hello gets the messages of before, key by key', async t => {
  const server = await startServer({ config: { heartbeat: 200 } })
  const { runtime } = server
  const client = await connect(server)
  const keys = async () => Object.keys(await client.json())
  client.send(observe(1))
  await until(() => runtime.open.length === 1, 'the engine works')
  client.send(observe(2))
  client.send(observe(3))
  t.same(await keys(), ['type', 'seq', 'reason'])
  client.send({ type: 'observation', seq: 4, observation: {}, options: { num_steps: 99 } })
  t.same(await keys(), ['type', 'seq', 'error'])
  await finishAll(runtime)
  t.same(await keys(), [
    'type',
    'seq',
    'chunk_id',
    'obs_age_ms',
    'valid_until',
    'late',
    'actions',
    'seed',
    'coalesced',
    'truncated',
    'guard',
    'policy_timing',
    'server_timing',
    'model',
  ])
  await finishAll(runtime)
  await keys()
  for (let beat = 0; beat < 3; beat += 1) await once(client.socket, 'ping')
  t.equal(client.unread, 0, 'no heartbeat that it would not know')
  client.socket.terminate()
})

t.test('hello names the robot, and answers carry the generation that each reset ends', async t => {
  const server = await startServer()
  const { runtime } = server
  const client = await connect(server, { robot: 'arm-1', generation: 4, sent_at: 12.5 })
  t.match(await client.json(), {
    type: 'welcome',
    robot: 'arm-1',
    generation: 4,
    sent_at: 12.5,
    received_at: Number,
    server_time: Number,
  })
  client.send(observe(1))
  await until(() => runtime.open.length === 1, 'the engine works')
  client.send({ type: 'reset' })
  t.match(await client.json(), { type: 'skipped', seq: 1, reason: 'reset', generation: 4 })
  client.send(observe(1))
  await until(() => runtime.calls.length === 2, 'the new one is taken up')
  await finishAll(runtime)
  t.match(
    await client.json(),
    { type: 'actions', seq: 1, generation: 5 },
    'not the answer to what was before',
  )
  client.send({ type: 'observation', seq: 9, observation: {}, options: { num_steps: 99 } })
  t.match(await client.json(), { type: 'error', seq: 9, generation: 5 })
  client.send({ type: 'hello' })
  t.match(await client.json(), { type: 'error', seq: null, error: { detail: /before observations/ } })
  client.socket.terminate()
})

t.test('a hello that cannot be granted ends the connection', async t => {
  const server = await startServer({ runtime: { milliseconds: 1 } })
  for (const [hello, code] of [
    [{ expected_model: 'another' }, 'MODEL_MISMATCH'],
    [{ robot: '../../etc' }, 'ROBOT_INVALID'],
    [{ robot: 'x'.repeat(65) }, 'ROBOT_INVALID'],
  ] as const) {
    const client = await connect(server, hello)
    t.match(await client.json(), { type: 'error', seq: null, error: { code } })
    t.equal((await client.closed).code, 1008)
  }
  const client = await connect(server, { expected_model: FAKE_MODEL })
  t.match(await client.json(), { type: 'welcome', robot: null, generation: 0 })
  client.send({ type: 'hello' })
  t.match(await client.json(), { type: 'error', error: { detail: /said once/ } })
  client.send(observe(1))
  t.match(await client.json(), { type: 'actions', seq: 1 }, 'a second hello ends nothing')
  client.socket.terminate()
})

t.test('time is told with the stamps of NTP, and heartbeats come after a hello', async t => {
  const server = await startServer({ runtime: { milliseconds: 1 }, config: { heartbeat: 100 } })
  const client = await connect(server)
  client.send({ type: 'time', sent_at: 7 })
  const time = await client.json<{ sent_at: number; received_at: number; server_time: number }>()
  t.match(time, { type: 'time', sent_at: 7 })
  t.ok(time.server_time >= time.received_at)
  client.send({ type: 'hello' })
  t.match(await client.json(), { type: 'welcome' })
  t.match(await client.json(), { type: 'heartbeat', server_time: Number })
  t.match(await client.json(), { type: 'heartbeat' })
  client.socket.terminate()
})

t.test('stamps of a clock that is wrong are refused', async t => {
  const server = await startServer({ runtime: { milliseconds: 1 } })
  const client = await connect(server)
  for (const [seq, stamps, detail] of [
    [1, { captured_at: Date.now() + 3_600_000 }, /later than the server’s clock/],
    [2, { captured_at: 5000 }, /earlier than the server’s clock/],
    [3, { captured_at: 2000, sent_at: 500 }, /1500 ms later than sent_at/],
  ] as const) {
    client.send(observe(seq, stamps))
    t.match(await client.json(), {
      type: 'error',
      seq,
      error: { code: 'OBSERVATION_INVALID', detail, errors: [{ pointer: '/captured_at' }] },
    })
  }
  client.send(observe(4, { captured_at: Date.now() + 200 }))
  t.match(await client.json(), { type: 'actions', seq: 4 }, 'clocks need not agree to the millisecond')
  client.socket.terminate()
})

t.test('what arrives expired takes no place from what waits', async t => {
  const server = await startServer()
  const { runtime } = server
  const client = await connect(server)
  client.send(observe(1))
  await until(() => runtime.open.length === 1, 'the engine works')
  client.send(observe(2))
  client.send(observe(3, { captured_at: 1000, sent_at: 1500, deadline_ms: 400 }))
  t.match(await client.json(), { type: 'skipped', seq: 3, reason: 'expired' })
  await finishAll(runtime)
  t.match(await client.json(), { type: 'actions', seq: 1 })
  await finishAll(runtime)
  t.match(await client.json(), { type: 'actions', seq: 2 }, 'the fresh one is answered')
  client.socket.terminate()
})

t.test('after its deadline and a margin an observation is skipped, whatever the engine does', async t => {
  // The engine takes it up in time, however late that is; the margin is a timer.
  stoppedClock(t)
  const server = await startServer()
  const { runtime } = server
  const client = await connect(server)
  client.send(observe(1, { deadline_ms: 1000 }))
  await until(() => runtime.open.length === 1, 'the engine works, and does not end')
  t.match(await client.json(), { type: 'skipped', seq: 1, reason: 'expired' })
  await finishAll(runtime)
  client.send({ type: 'time', sent_at: 1 })
  t.match(await client.json(), { type: 'time' }, 'and is not answered once more')
  t.equal(client.unread, 0)
  client.socket.terminate()
})

t.test('a picture that cannot be decoded leaves what is carried over as it was', async t => {
  const policy = fakePolicy()
  const server = await startServer({
    runtime: { milliseconds: 1 },
    policy: {
      async prepare(observation, ...rest) {
        const image = observation.images['observation/image']!
        if (image.kind === 'array' && image.data[0] === 255)
          throw new TurboPiError('IMAGE_INVALID', 'no picture')
        return policy.prepare(observation, ...rest)
      },
    },
  })
  const client = await connect(server)
  client.send(observe(1))
  t.match(await client.json(), { type: 'actions', seq: 1 })
  const bad = { data: Buffer.alloc(48, 255).toString('base64'), encoding: 'rgb8', width: 4, height: 4 }
  client.send({ type: 'observation', seq: 2, observation: { 'observation/image': bad } })
  t.match(await client.json(), { type: 'error', seq: 2, error: { code: 'IMAGE_INVALID' } })
  client.send({
    type: 'observation',
    seq: 3,
    observation: { 'observation/state': [30, 0] },
    options: { seed: 0 },
  })
  t.match(await client.json(), { type: 'actions', seq: 3, actions: [[30, 30]] }, 'with the picture of before')
  client.socket.terminate()
})
