import { request } from 'node:http'
import t, { type Test } from 'tap'
import { encodeMsgpack } from '../../src/contract/msgpack.js'
import { LogLimit } from '../../src/routes/log-limit.js'
import { createServer } from '../../src/server/standalone.js'
import { Served } from '../../src/service/served.js'
import { PolicyService } from '../../src/service/service.js'
import { fakePolicy } from '../support/fake-policy.js'
import { FakeRuntime } from '../support/fake-runtime.js'
import { TestSocket, until } from '../support/server.js'

type Line = Record<string, unknown>

/** A server whose log a test reads. */
async function logged(t: Test) {
  const lines: Line[] = []
  const stream = { write: (line: string) => void lines.push(JSON.parse(line) as Line) }
  const service = new PolicyService({
    policy: fakePolicy(),
    runtime: Promise.resolve(new FakeRuntime({ milliseconds: 1 })),
  })
  await service.start()
  const served = new Served(service)
  const config = { apiKey: 'secret', bodyLimit: 4096 }
  const app = await createServer([served], config, { logger: { level: 'info', stream } })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const told = (msg: string) => lines.filter(line => line['msg'] === msg)
  const counted = async (code: string) => {
    const text = await (
      await fetch(`${url}/metrics`, { headers: { authorization: 'Api-Key secret' } })
    ).text()
    return Number(new RegExp(`^turbo_pi_errors_total\\{code="${code}"\\} (\\d+)`, 'm').exec(text)?.[1] ?? 0)
  }
  return { url, told, counted, lines }
}

const KEY = { authorization: 'Api-Key secret' }
const JSON_TYPE = { 'content-type': 'application/json' }
const TRACE = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
const observation = {
  'observation/image': { data: Buffer.alloc(48).toString('base64'), encoding: 'rgb8', width: 4, height: 4 },
  'observation/state': [1, 2],
}

t.test('what is refused stands in the log and in the metrics, over every wire', async t => {
  const { url, told, counted } = await logged(t)
  const post = (body: string, headers: Record<string, string> = {}) =>
    fetch(`${url}/infer`, { method: 'POST', headers: { ...KEY, ...JSON_TYPE, ...headers }, body })
  const cases: [code: string, send: () => Promise<unknown>, line: Line][] = [
    ['UNAUTHORIZED', () => fetch(`${url}/metadata`), { status: 401 }],
    ['NOT_FOUND', () => fetch(`${url}/nowhere`, { headers: KEY }), { status: 404 }],
    ['BODY_MALFORMED', () => post('{'), { status: 400, key: 'default' }],
    ['BODY_TOO_LARGE', () => post(JSON.stringify('x'.repeat(5000))), { status: 413 }],
    ['CONTENT_TYPE_UNSUPPORTED', () => post('x', { 'content-type': 'text/plain' }), { status: 415 }],
    ['ROBOT_INVALID', () => post('{}', { 'x-robot': '-' }), { status: 400 }],
    ['ORIGIN_FORBIDDEN', () => post('{}', { origin: 'https://evil.example' }), { status: 403 }],
    [
      'OBSERVATION_INVALID',
      () =>
        post(JSON.stringify({ ...observation, 'observation/state': [1] }), {
          'x-robot': 'arm-1',
          'x-request-id': 'mine-7',
          traceparent: TRACE,
        }),
      {
        status: 422,
        robot: 'arm-1',
        reqId: 'mine-7',
        traceparent: TRACE,
        field: '/observation~1state',
        key: 'default',
      },
    ],
  ]
  for (const [code, send, line] of cases) {
    await send()
    t.equal(await counted(code), 1, `${code} is counted once`)
    t.match(told('refused').at(-1), { code, ...line }, code)
  }

  const stream = new TestSocket(`${url}/stream?robot=arm-2`, ['turbo-pi.v1+json'], {
    headers: { ...KEY, 'x-request-id': 'connection-3' },
  })
  await stream.json()
  stream.send({ type: 'observation', seq: 4, observation: { ...observation, 'observation/state': [1] } })
  await stream.json()
  t.match(told('refused').at(-1), {
    code: 'OBSERVATION_INVALID',
    seq: 4,
    robot: 'arm-2',
    reqId: 'connection-3',
    session: String,
  })
  t.equal(await counted('OBSERVATION_INVALID'), 2)
  stream.socket.close(1000, 'done')
  await stream.closed

  const openpi = new TestSocket(url, [], { headers: KEY })
  await openpi.frame()
  openpi.send(encodeMsgpack({ prompt: 'nothing else' }))
  await openpi.closed
  t.equal(await counted('OBSERVATION_INVALID'), 3)

  t.match(told('connected'), [
    { protocol: 'turbo-pi.v1+json', robot: 'arm-2', key: 'default', ip: '127.0.0.1' },
    { protocol: 'openpi' },
  ])
  await until(() => told('closed').length === 2, 'both are closed')
  t.match(told('closed'), [
    { robot: 'arm-2', code: 1000, reason: 'done' },
    { code: 1011, reason: 'The previous frame says why.' },
  ])
  const metrics = await (await fetch(`${url}/metrics`, { headers: KEY })).text()
  t.match(metrics, 'turbo_pi_connects_total{protocol="openpi"} 1')
  t.match(metrics, 'turbo_pi_closes_total{protocol="openpi",code="1011"} 1')
})

t.test('an error that the service has seen is counted once', async t => {
  const { url, counted } = await logged(t)
  const late = await fetch(`${url}/infer`, {
    method: 'POST',
    headers: { ...KEY, ...JSON_TYPE },
    body: JSON.stringify({ ...observation, options: { deadline_ms: 0.001 } }),
  })
  t.equal(late.status, 504)
  t.equal(await counted('DEADLINE_EXCEEDED'), 1)
})

t.test('a flood of refusals does not flood the log, and is counted in full', async t => {
  const start = performance.now()
  const { url, told, counted } = await logged(t)
  for (let i = 0; i < 100; i += 1) await (await fetch(`${url}/nowhere`, { headers: KEY })).arrayBuffer()
  t.equal(await counted('NOT_FOUND'), 100)
  const most = 20 + 10 * ((performance.now() - start) / 1000)
  t.ok(told('refused').length <= most, `${told('refused').length} lines, at most ${most}`)
  await new Promise(resolve => setTimeout(resolve, 150))
  await fetch(`${url}/nowhere`, { headers: KEY })
  const withheld = told('refused').reduce(
    (sum, line) => sum + ((line['withheld'] as number | undefined) ?? 0),
    0,
  )
  t.equal(told('refused').length + withheld, 101, 'the log tells how many it left out')
})

t.test('the log has twenty lines at once, then ten a second, and says how many it left out', async t => {
  let now = 0
  const limit = new LogLimit(() => now)
  const lines: (number | undefined)[] = []
  const pass = (count: number) => {
    for (let i = 0; i < count; i += 1) limit.pass(({ withheld }) => void lines.push(withheld))
    return lines.splice(0)
  }
  t.same(pass(100), Array(20).fill(undefined))
  now = 99
  t.same(pass(1), [])
  now = 110
  t.same(pass(3), [81])
  now = 350
  t.same(pass(5), [2, undefined])
  now = 60_000
  t.same(pass(100), [3, ...Array(19).fill(undefined)], 'no more than that is saved')
})

t.test('ids and traces of requests are taken and echoed', async t => {
  const { url } = await logged(t)
  const get = async (path: string, headers: Record<string, string> = {}) =>
    (await fetch(`${url}${path}`, { headers: { ...KEY, ...headers } })).headers
  const named = await get('/metadata', { 'x-request-id': 'mine', traceparent: TRACE })
  t.equal(named.get('x-request-id'), 'mine')
  t.equal(named.get('traceparent'), TRACE)
  t.equal((await get('/nowhere', { 'x-request-id': 'mine' })).get('x-request-id'), 'mine', 'errors, too')
  const [one, other] = [await get('/metadata'), await get('/metadata', { traceparent: 'nonsense' })]
  t.match(one.get('x-request-id'), /^[\w-]+$/)
  t.not(one.get('x-request-id'), other.get('x-request-id'))
  t.equal(other.get('traceparent'), null)
  for (const id of ['x'.repeat(129), 'two words'])
    t.not(
      (await get('/metadata', { 'x-request-id': id })).get('x-request-id'),
      id,
      'nothing odd gets into the log',
    )

  const upgraded = await new Promise<Record<string, unknown>>(resolve => {
    request(`${url}/stream`, {
      headers: {
        ...KEY,
        connection: 'upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
        'sec-websocket-protocol': 'turbo-pi.v1+json',
        'x-request-id': 'robot-9',
        traceparent: TRACE,
      },
    })
      .on('upgrade', ({ headers }, socket) => {
        socket.destroy()
        resolve(headers)
      })
      .end()
  })
  t.match(upgraded, { 'x-request-id': 'robot-9', traceparent: TRACE })
})
