import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { decodeMsgpack, encodeMsgpack, NdArray } from '../../../src/contract/msgpack.js'
import type { CameraSpec } from '../../../src/contract/observation.js'
import type { Policy } from '../../../src/policy/policy.js'
import { tinyModel } from '../../support/fake-runtime.js'
import { startServer, stopServers, TestSocket, until } from '../../support/server.js'

t.teardown(stopServers)

const golden = (path: string) => readFileSync(new URL(`../../golden/${path}`, import.meta.url))

const camera = (key: string, rest: Partial<CameraSpec> = {}): CameraSpec => ({
  key,
  required: true,
  slot: 'base_0_rgb',
  layout: 'hwc',
  description: key,
  ...rest,
})

const PROMPT = { key: 'prompt', required: true }

const CAPTURES = [
  {
    robot: 'libero',
    horizon: 10,
    actionSize: 7,
    metadata: {},
    spec: {
      embodiment: 'libero',
      cameras: [camera('observation/image'), camera('observation/wrist_image')],
      state: [{ key: 'observation/state', size: 8, description: 'state' }],
      prompt: PROMPT,
    },
  },
  {
    robot: 'aloha',
    horizon: 50,
    actionSize: 14,
    metadata: { reset_pose: [0, -1.5, 1.5, 0, 0, 0] },
    spec: {
      embodiment: 'aloha',
      cameras: ['cam_high', 'cam_low', 'cam_left_wrist', 'cam_right_wrist'].map(name =>
        camera(`images.${name}`, { layout: 'chw', required: name === 'cam_high' }),
      ),
      state: [{ key: 'state', size: 14, description: 'state' }],
      prompt: PROMPT,
    },
  },
]

interface Reply {
  actions: NdArray
  policy_timing: Record<string, number>
  server_timing: Record<string, number>
}

/** A reply with its clock readings set to zero. */
function withoutTimes(t: Test, frame: Buffer): string {
  const bytes = Buffer.from(frame)
  for (const name of ['infer_ms', 'prev_total_ms']) {
    for (let at = bytes.indexOf(name); at >= 0; at = bytes.indexOf(name, at + 1)) {
      t.equal(bytes[at + name.length], 0xcb, `${name} travels as float64`)
      bytes.fill(0, at + name.length + 1, at + name.length + 9)
    }
  }
  return bytes.toString('hex')
}

for (const { robot, horizon, actionSize, metadata, spec } of CAPTURES) {
  t.test(`frames captured from openpi’s server: ${robot}`, async t => {
    const captured = (file: string) => golden(`prepost/websocket_${robot}/${file}`)
    const chunks = ['02_server.bin', '04_server.bin'].map(file => {
      const { data } = (decodeMsgpack(captured(file)) as unknown as Reply).actions
      return new Float64Array(Uint8Array.from(data).buffer)
    })
    const policy: Partial<Policy> = {
      spec,
      metadata,
      model: { ...tinyModel, actionHorizon: horizon },
      actionSize,
      prepare: async () => ({
        row: { images: [null], tokens: Int32Array.of(1) },
        truncated: false,
        normalisedState: new Float64Array(3),
        state: new Float64Array(0),
        timing: { decodeMs: 0, prepareMs: 0 },
        findings: [],
      }),
      finish: () => ({
        actions: chunks.shift()!,
        guard: { outOfBounds: 0, clamped: false, bounds: null, findings: [] },
      }),
    }
    chunks.unshift(new Float64Array(horizon * actionSize)) // of the self-test
    const { url } = await startServer({ policy, runtime: { milliseconds: 1 } })
    const client = new TestSocket(`${url}/`, [], { headers: { authorization: 'Api-Key unused' } })

    t.same(await client.frame(), { frame: captured('00_server.bin'), isBinary: true }, 'metadata first')
    const request = golden(`policies/pi05_${robot}/obs.msgpack`)
    for (const file of ['02_server.bin', '04_server.bin']) {
      client.send(request)
      const { frame, isBinary } = await client.frame()
      t.ok(isBinary)
      t.equal(
        withoutTimes(t, frame),
        withoutTimes(t, captured(file)),
        `${file}, byte for byte but for the clock`,
      )
    }
    client.send(captured('05_client.bin'))
    const error = await client.frame()
    t.notOk(error.isBinary, 'an error is a text frame')
    t.match(error.frame.toString(), /OBSERVATION_INVALID/)
    t.match(error.frame.toString(), /is required and missing/)
    t.notMatch(error.frame.toString(), /\bat .*:\d+/, 'no stack')
    t.equal((await client.closed).code, 1011)
  })
}

const request = (token: number) =>
  encodeMsgpack({
    'observation/image': new NdArray('|u1', [4, 4, 3], new Uint8Array(48)),
    'observation/state': [token, 0],
    prompt: 'do it',
  })

const firstAction = (frame: Buffer) =>
  new DataView(Uint8Array.from((decodeMsgpack(frame) as unknown as Reply).actions.data).buffer).getFloat64(
    0,
    true,
  )

t.test('strict request and reply, in order, however fast requests come', async t => {
  // The noise is the seed, which the server draws: this policy hands out the row's token alone.
  const policy: Partial<Policy> = {
    finish: (_actions, prepared) => ({
      actions: new Float64Array(4).fill(prepared.state[0]!),
      guard: { outOfBounds: 0, clamped: false, bounds: null, findings: [] },
    }),
  }
  const { url, runtime } = await startServer({ policy, runtime: { milliseconds: 2 } })
  const client = new TestSocket(url)
  await client.frame()
  for (let token = 1; token <= 20; token += 1) client.send(request(token))
  for (let token = 1; token <= 20; token += 1) t.equal(firstAction((await client.frame()).frame), token)
  t.equal(runtime.calls.length, 40, 'every request was inferred, none skipped')
  client.socket.terminate()
})

t.test('the clock of a round starts when the reply before it was sent', async t => {
  const { url } = await startServer({ runtime: { milliseconds: 1 } })
  const client = new TestSocket(url)
  await client.frame()
  const timings: Record<string, number>[] = []
  for (let round = 0; round < 3; round += 1) {
    client.send(request(round))
    timings.push((decodeMsgpack((await client.frame()).frame) as unknown as Reply).server_timing)
    await new Promise(resolve => setTimeout(resolve, 30))
  }
  t.same(Object.keys(timings[0]!), ['infer_ms'])
  t.same(Object.keys(timings[1]!), ['infer_ms', 'prev_total_ms'])
  t.ok(timings[2]!['prev_total_ms']! >= 25, 'the client’s thinking counts')
  client.socket.terminate()
})

t.test('a client that leaves takes its work with it', async t => {
  const { url, runtime } = await startServer()
  const client = new TestSocket(url)
  await client.frame()
  client.send(request(1))
  await until(() => runtime.open.length === 1, 'the engine works')
  client.socket.terminate()
  await until(() => runtime.calls[0]?.signal?.aborted === true, 'the engine is told to stop')
  t.equal(runtime.open.length, 0)
})

t.test('what is not a request ends the connection with a reason', async t => {
  const { url } = await startServer({ runtime: { milliseconds: 1 }, config: { bodyLimit: 4096 } })
  for (const [frame, code] of [
    ['text', 1011],
    [new Uint8Array(0), 1011],
    [new Uint8Array([0xc1, 0xff, 0x00]), 1011],
    [encodeMsgpack({ 'observation/image': 1, extra: true }), 1011],
  ] as const) {
    const client = new TestSocket(url)
    await client.frame()
    client.send(frame)
    t.notOk((await client.frame()).isBinary)
    t.equal((await client.closed).code, code)
  }
  const large = new TestSocket(url)
  await large.frame()
  large.send(new Uint8Array(5000))
  t.equal((await large.closed).code, 1009, 'a frame beyond the limit')
})

t.test('plain HTTP', async t => {
  const { url } = await startServer()
  const root = await fetch(url)
  t.equal(root.status, 426)
  t.equal(root.headers.get('upgrade'), 'websocket')
  t.match(await root.json(), { code: 'UPGRADE_REQUIRED' })
  const health = await fetch(`${url}/healthz`)
  t.equal(health.status, 200)
  t.equal(await health.text(), 'OK\n')
  t.match(health.headers.get('content-type'), /^text\/plain; charset=utf-8$/)
})

t.test('the key is asked for before the upgrade', async t => {
  const { url } = await startServer({ config: { apiKey: 'secret' }, runtime: { milliseconds: 1 } })
  t.equal(await new TestSocket(url).opened(), 401)
  t.equal(await new TestSocket(url, [], { headers: { authorization: 'Api-Key wrong' } }).opened(), 401)
  const client = new TestSocket(url, [], { headers: { authorization: 'Api-Key secret' } })
  t.equal(await client.opened(), 101)
  client.socket.terminate()
})
