import t, { type Test } from 'tap'
import { SETTINGS } from '../../src/config.js'
import { decodeMsgpack, encodeMsgpack, NdArray } from '../../src/contract/msgpack.js'
import { TurboPiError } from '../../src/errors.js'
import type { Policy } from '../../src/policy/policy.js'
import type { Swap } from '../../src/routes/policies.js'
import { createServer, type Policies } from '../../src/server/standalone.js'
import { Metrics } from '../../src/service/metrics.js'
import { Served } from '../../src/service/served.js'
import { PolicyService, type ServiceParts } from '../../src/service/service.js'
import { fakePolicy } from '../support/fake-policy.js'
import { FakeRuntime } from '../support/fake-runtime.js'
import { TestSocket, until } from '../support/server.js'

/** Parts of a policy whose every action is `value`. */
const parts = (value: number, overrides: Partial<Policy> = {}): ServiceParts => ({
  policy: fakePolicy({
    name: `policy ${value}`,
    finish: () => ({
      actions: new Float64Array(4).fill(value),
      guard: { outOfBounds: 0, clamped: false, bounds: null, findings: [] },
    }),
    ...overrides,
  }),
  runtime: Promise.resolve(new FakeRuntime({ milliseconds: 1 })),
})

/** A listening server of policies that answer 1, 2, …. */
async function serve(t: Test, names: string[], options: { swap?: Swap; apiKey?: string } = {}) {
  const policies = names.map(
    (name, i) =>
      new Served(
        new PolicyService({ ...parts(i + 1), metrics: new Metrics(names.length > 1 ? name : undefined) }),
        {
          name,
        },
      ),
  ) as unknown as Policies
  const app = await createServer(
    policies,
    {
      apiKey: options.apiKey,
      bodyLimit: 2 ** 20,
      heartbeat: SETTINGS.heartbeat.default,
      sendBuffer: SETTINGS.sendBuffer.default,
    },
    options.swap ? { swap: options.swap } : {},
  )
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(async () => {
    await Promise.all(policies.map(served => served.close()))
    await app.close()
  })
  await Promise.all(policies.map(({ current }) => current.service.start()))
  return { app, url, policies }
}

const PIXELS = { data: Buffer.alloc(48).toString('base64'), encoding: 'rgb8', width: 4, height: 4 }
const observation = (token: number) => ({
  'observation/image': PIXELS,
  'observation/state': [token, 0],
})

const openpiObservation = encodeMsgpack({
  'observation/image': new NdArray('|u1', [4, 4, 3], new Uint8Array(48)),
  'observation/state': [0, 0],
})

/** The first number of an answer over openpi's protocol. */
function firstAction(frame: Buffer): number {
  const { actions } = decodeMsgpack(frame) as unknown as { actions: NdArray }
  return new DataView(actions.data.buffer, actions.data.byteOffset).getFloat64(0, true)
}

const post = (url: string, body: object, headers: Record<string, string> = {}) =>
  fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })

const infer = async (url: string) =>
  ((await (await post(url, observation(0))).json()) as { actions: number[][] }).actions[0]![0]

t.test('the first policy is served at /, every one under its name, on all wires', async t => {
  const { url } = await serve(t, ['left', 'right'])
  t.equal(await infer(`${url}/infer`), 1)
  t.equal(await infer(`${url}/policies/left/infer`), 1)
  t.equal(await infer(`${url}/policies/right/infer`), 2)

  const stream = new TestSocket(`${url}/policies/right/stream`, ['turbo-pi.v1+json'])
  t.match(await stream.json(), { type: 'ready', metadata: { policy: 'policy 2' } })
  stream.send({ type: 'observation', seq: 0, observation: observation(0) })
  t.match(await stream.json(), { type: 'actions', actions: [[2, 2]] })
  stream.socket.close()

  const openpi = new TestSocket(`${url}/policies/right/`)
  await openpi.frame()
  openpi.send(openpiObservation)
  t.equal(firstAction((await openpi.frame()).frame), 2)
  openpi.socket.close()

  const listed = (await (await fetch(`${url}/policies`)).json()) as object[]
  t.match(listed, [
    { name: 'left', path: '/policies/left/', policy: 'policy 1', ready: true },
    { name: 'right', path: '/policies/right/', policy: 'policy 2', ready: true },
  ])
  t.equal((await fetch(`${url}/readyz`)).status, 200)
  t.equal((await fetch(`${url}/policies/nobody/infer`)).status, 404)
})

t.test('metrics name the policy where several are served', async t => {
  const { url } = await serve(t, ['left', 'right'])
  await infer(`${url}/policies/right/infer`)
  const metrics = await (await fetch(`${url}/metrics`)).text()
  t.match(metrics, /turbo_pi_answers_total\{policy="left"\} 0/)
  t.match(metrics, /turbo_pi_answers_total\{policy="right"\} 1/)
  t.match(metrics, /process_cpu_seconds_total/)
})

t.test('without a swap there is no such route; a body that is none is refused', async t => {
  const plain = await serve(t, ['arm'])
  t.equal((await post(`${plain.url}/policies/arm/swap`, { directory: '/x' })).status, 404)
  const { url } = await serve(t, ['arm'], { swap: async () => {}, apiKey: 'secret' })
  const key = { authorization: 'Api-Key secret' }
  t.equal((await post(`${url}/policies/arm/swap`, { directory: '/x' })).status, 401)
  t.equal((await post(`${url}/policies/arm/swap`, {}, key)).status, 400)
  t.match(await (await post(`${url}/policies/arm/swap`, { directory: '/x' }, key)).json(), { name: 'arm' })
  const absent = await post(`${url}/policies/leg/swap`, { directory: '/x' }, key)
  t.equal(absent.status, 404)
  t.match(await absent.json(), { code: 'NOT_FOUND', detail: /No policy is served as leg; there .* arm/ })
})

t.test('a directory that cannot be served is a refusal that says why', async t => {
  const swap = async () => {
    throw new TurboPiError('POLICY_INVALID', '/x is not a directory')
  }
  const { url } = await serve(t, ['arm'], { swap, apiKey: 'secret' })
  const response = await post(
    `${url}/policies/arm/swap`,
    { directory: '/x' },
    { authorization: 'Api-Key secret' },
  )
  t.equal(response.status, 409)
  t.match(await response.json(), { code: 'SWAP_REFUSED', detail: /POLICY_INVALID.*is not a directory/ })
})

t.test('the documents follow a policy of another shape', async t => {
  const { url, policies } = await serve(t, ['arm'])
  const { spec } = fakePolicy()
  const wider = { spec: { ...spec, state: [{ ...spec.state[0]!, size: 7 }] } }
  const size = async () => /"maxItems":7/.test(await (await fetch(`${url}/docs/json`)).text())
  t.notOk(await size())
  await policies[0].swap(parts(2, wider), { anyShape: true })
  let follows = await size()
  for (let waited = 0; !follows && waited < 60_000; waited += 20) {
    await new Promise(resolve => setTimeout(resolve, 20))
    follows = await size()
  }
  t.ok(follows)
})

t.test(
  '200 swaps under load: no accepted observation is lost, none is answered by the old policy after the new one',
  async t => {
    const { url, policies } = await serve(t, ['arm'])
    const [served] = policies
    let running = true
    let answered = 0
    let heard = 0
    /** Generations of one connection's answers, in order. */
    const grows = (generations: number[], what: string) => {
      answered += generations.length
      t.ok(generations.length > 0, `${what} was answered`)
      t.ok(
        generations.every((generation, i) => i === 0 || generation >= generations[i - 1]!),
        `${what}: never back to an older policy`,
      )
    }

    const http = async (name: string) => {
      const generations: number[] = []
      for (let token = 0; running; token += 1) {
        const response = await post(`${url}/infer`, observation(token))
        if (response.status !== 200) throw new Error(`${name}: ${response.status} ${await response.text()}`)
        generations.push(((await response.json()) as { actions: number[][] }).actions[0]![0]!)
        heard += 1
      }
      grows(generations, name)
    }

    const stream = async () => {
      const socket = new TestSocket(`${url}/stream`, ['turbo-pi.v1+json'])
      t.match(await socket.json(), { type: 'ready' })
      const open = new Set<number>()
      const generations: number[] = []
      let exchanges = 0
      const receive = async () => {
        const message = await socket.json<{ type: string; seq: number; actions: number[][] }>()
        if (message.type === 'ready') exchanges += 1
        else if (message.type === 'error') t.fail(JSON.stringify(message))
        else {
          if (!open.delete(message.seq)) t.fail(`observation ${message.seq} was answered twice`)
          if (message.type !== 'actions') return
          generations.push(message.actions[0]![0]!)
          heard += 1
        }
      }
      for (let seq = 0; running; seq += 1) {
        open.add(seq)
        socket.send({ type: 'observation', seq, observation: observation(seq) })
        if (seq % 3 === 2) await receive()
        else await new Promise(resolve => setTimeout(resolve, 1))
      }
      while (open.size > 0 || exchanges < 200) await receive()
      socket.socket.close()
      t.ok(exchanges >= 200, 'the robot was told of every exchange')
      grows(generations, 'WS /stream')
    }

    const openpi = async () => {
      const socket = new TestSocket(`${url}/`)
      await socket.frame()
      const generations: number[] = []
      while (running) {
        socket.send(
          encodeMsgpack({
            'observation/image': new NdArray('|u1', [4, 4, 3], new Uint8Array(48)),
            'observation/state': [0, 0],
          }),
        )
        const { frame, isBinary } = await socket.frame()
        if (!isBinary) throw new Error(frame.toString())
        const { actions } = decodeMsgpack(frame) as { actions: NdArray }
        const { buffer, byteOffset } = actions.data
        generations.push(new DataView(buffer, byteOffset).getFloat64(0, true))
        heard += 1
      }
      socket.socket.close()
      grows(generations, 'WS /')
    }

    const load = Promise.all([http('HTTP one'), http('HTTP two'), stream(), openpi()])
    for (let swap = 2; swap <= 201; swap += 1) {
      await served.swap(parts(swap))
      await until(() => heard >= 2 * (swap - 1), 'two more are answered')
    }
    running = false
    await load
    t.ok(answered >= 400, `${answered} answers while 200 policies came and went`)
  },
)
