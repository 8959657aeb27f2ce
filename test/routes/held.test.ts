import t from 'tap'
import { rgbImage, TurboPiClient } from '../../src/client/index.js'
import { encodeMsgpack } from '../../src/contract/msgpack.js'
import { RobotWatch } from '../../src/policy/guard/robot-watch.js'
import { StateWatch } from '../../src/policy/guard/state-watch.js'
import { HeldRobots } from '../../src/service/held-robots.js'
import { fakePolicy } from '../support/fake-policy.js'
import { FakeRuntime } from '../support/fake-runtime.js'
import { startServer, stopServers, TestSocket } from '../support/server.js'

t.teardown(stopServers)

const bounds = { from: 'percentiles', low: Float64Array.of(0, 0), high: Float64Array.of(9, 9) } as const
const finding = { kind: 'state_bounds', joint: 'lift', row: null, value: 1e6, limit: 9 } as const

/** A server whose guard holds robots with a state past 9. */
const serve = () =>
  startServer({
    runtime: { milliseconds: 1 },
    policy: {
      watch: () =>
        new RobotWatch('hold', ({ state }) => state['observation/state']!, {
          states: new StateWatch(bounds, ['lift', 'grip']),
        }),
    },
  })

const observation = (lift: number) => ({
  'observation/image': rgbImage(new Uint8Array(48), 4, 4),
  'observation/state': [lift, 0],
})

const post = (url: string, lift: number, robot?: string) =>
  fetch(`${url}/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/msgpack', ...(robot !== undefined && { 'x-robot': robot }) },
    body: Buffer.from(encodeMsgpack(observation(lift))),
  })

const HELD = { code: 'ROBOT_HELD', message: /lift is 1000000, far outside the norm stats/ }

t.test('a robot that is held stays so, whatever it connects by, until it is cleared', async t => {
  const { url, runtime } = await serve()
  const client = await TurboPiClient.connect(url, { robot: 'arm-1' })
  t.ok(await client.infer(observation(1)))
  await t.rejects(client.infer(observation(1e6)), HELD)
  const { length } = runtime.calls
  await t.rejects(client.infer(observation(1)), HELD, 'what is well again does not free it')
  await client.close()
  const again = await TurboPiClient.connect(url, { robot: 'arm-1' })
  t.teardown(() => again.close())
  await t.rejects(again.infer(observation(1)), HELD, 'nor does another connection')
  const refused = await post(url, 1, 'arm-1')
  t.equal(refused.status, 409)
  t.match(await refused.json(), { code: 'ROBOT_HELD', detail: /^arm-1 is held since 20.*clears it/ })
  const openpi = new TestSocket(`${url}/?robot=arm-1`)
  await openpi.frame()
  openpi.send(encodeMsgpack(observation(1)))
  t.match((await openpi.frame()).frame.toString(), /ROBOT_HELD/)
  t.equal(runtime.calls.length, length, 'nothing was computed')
  t.equal((await post(url, 1, 'arm-2')).status, 200, 'other robots go on')

  t.match(await (await fetch(`${url}/robots/held`)).json(), [{ robot: 'arm-1', finding }])
  const metrics = await (await fetch(`${url}/metrics`)).text()
  t.match(metrics, /^turbo_pi_robot_held\{robot="arm-1"\} 1$/m)
  t.match(metrics, /^turbo_pi_guard_findings_total\{kind="state_bounds"\} 1$/m)

  t.ok(again.clearHold())
  t.ok(await again.infer(observation(1)), 'its own connection clears it')
  t.same(await (await fetch(`${url}/robots/held`)).json(), [])

  await t.rejects(again.infer(observation(1e6)), HELD)
  const cleared = await fetch(`${url}/robots/arm-1/clear`, { method: 'POST' })
  t.match(await cleared.json(), { robot: 'arm-1', was: { robot: 'arm-1', finding } })
  t.ok(await again.infer(observation(1)), 'or whoever may ask the server')
  t.match(await (await fetch(`${url}/robots/arm-1/clear`, { method: 'POST' })).json(), { was: null })
  t.notMatch(await (await fetch(`${url}/metrics`)).text(), /^turbo_pi_robot_held\{/m)
})

t.test('a robot without a name cannot be held, and is refused', async t => {
  const { url, runtime } = await serve()
  const refused = await post(url, 1)
  t.equal(refused.status, 400)
  t.match(await refused.json(), { code: 'ROBOT_INVALID', detail: /--guard hold/ })
  t.equal(runtime.calls.length, 0)
  await using client = await TurboPiClient.connect(url)
  await t.rejects(client.infer(observation(1)), { code: 'ROBOT_INVALID' })
  t.equal((await fetch(`${url}/robots/a%20b/clear`, { method: 'POST' })).status, 400)
})

t.test('a clear message is for robots with a name', async t => {
  const { url } = await serve()
  const socket = new TestSocket(`${url}/stream`, ['turbo-pi.v1+json'])
  t.match(await socket.json(), { type: 'ready', features: ['hello', 'time', 'heartbeat', 'clear'] })
  socket.send({ type: 'clear' })
  t.match(await socket.json(), { type: 'error', seq: null, error: { code: 'ROBOT_INVALID' } })
  socket.socket.terminate()
})

t.test('the list of held robots is bounded, and forgets none', async t => {
  const held = new HeldRobots()
  for (let i = 0; i < 1024; i += 1) held.hold(`arm-${i}`, finding)
  t.throws(() => held.requireFree('another'), { code: 'ROBOT_HELD', message: /^1024 robots are held/ })
  held.clear('arm-3')
  held.requireFree('another')
  t.throws(() => held.requireFree('arm-0'), { code: 'ROBOT_HELD' })
})

t.test('a hold outlives the policy that was served', async t => {
  const { url, served } = await serve()
  t.equal((await post(url, 1e6, 'arm-1')).status, 409)
  const watch = () => new RobotWatch('hold', ({ state }) => state['observation/state']!, {})
  const runtime = Promise.resolve(new FakeRuntime({ milliseconds: 0 }))
  await served.swap({ policy: fakePolicy({ watch }), runtime })
  t.equal((await post(url, 1, 'arm-1')).status, 409)
  t.equal((await post(url, 1, 'arm-2')).status, 200)
})
