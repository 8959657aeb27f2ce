import t from 'tap'
import { rgbImage, TurboPiClient } from '../../src/client/index.js'
import type { GuardFinding } from '../../src/contract/guard.js'
import { encodeMsgpack } from '../../src/contract/msgpack.js'
import { Robots } from '../../src/routes/robots.js'
import { finishAll } from '../support/fake-runtime.js'
import { startServer, stopServers, TestSocket, until } from '../support/server.js'

t.teardown(stopServers)

const observation = (token: number) => ({
  'observation/image': rgbImage(new Uint8Array(48), 4, 4),
  'observation/state': [token, 0],
})

const post = (url: string, token: number, headers: Record<string, string> = {}) =>
  fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/msgpack', ...headers },
    body: Buffer.from(encodeMsgpack(observation(token))),
  })

const metricsOf = async (url: string) => (await fetch(`${url}/metrics`)).text()

t.test('late answers and what guards find are counted by robot, and forgotten with it', async t => {
  const robots = new Robots({ maxRobots: 1, maxConnections: 1 })
  const finding = { kind: 'stuck' } as unknown as GuardFinding
  const guard = { outOfBounds: 0, clamped: false, bounds: null, findings: [finding, finding] }
  const robot = robots.named('arm-1')
  robot.answered('p', 20, { late: true, guard })
  robot.answered('p', 20, { late: false, guard: { ...guard, findings: [] } })
  const metrics = await robots.registry.metrics()
  t.match(metrics, /^turbo_pi_robot_late_total\{robot="arm-1",policy="p"\} 1$/m)
  t.match(metrics, /^turbo_pi_robot_guard_findings_total\{robot="arm-1",policy="p"\} 2$/m)
  const later = performance.now() + 3_600_000
  t.intercept(performance, 'now', { value: () => later })
  robots.named('arm-2')
  t.notMatch(await robots.registry.metrics(), /arm-1/)
})

t.test('a robot names itself in hello, query or header, and has numbers of its own', async t => {
  const { url } = await startServer({ runtime: { milliseconds: 1 } })
  await using client = await TurboPiClient.connect(url, { robot: 'arm-1' })
  await client.infer(observation(1))
  await t.rejects(client.infer(observation(1), { numSteps: 99 }))
  const asked = performance.now()
  t.equal((await post(`${url}/infer`, 2, { 'x-robot': 'arm-1' })).status, 200)
  const tookMs = performance.now() - asked
  t.equal((await post(`${url}/infer?robot=arm-2`, 3)).status, 200)
  const openpi = new TestSocket(`${url}/?robot=arm-2`)
  await openpi.frame()
  openpi.send(encodeMsgpack(observation(4)))
  await openpi.frame()
  const metrics = await metricsOf(url)
  t.match(metrics, /^turbo_pi_robot_answers_total\{robot="arm-1",policy="default"\} 2$/m)
  t.match(metrics, /^turbo_pi_robot_answers_total\{robot="arm-2",policy="default"\} 2$/m)
  t.match(metrics, /^turbo_pi_robot_errors_total\{robot="arm-1",policy="default"\} 1$/m)
  t.match(metrics, /^turbo_pi_build_info\{version="\d[^"]*",node="v\d[^"]*"\} 1$/m)
  t.match(metrics, /^turbo_pi_model_bytes [1-9]\d*$/m)
  t.match(metrics, /^turbo_pi_robot_connections\{robot="arm-1",policy="default"\} 1$/m)
  const age = /^turbo_pi_robot_observation_age_seconds\{robot="arm-1",policy="default"\} (\S+)$/m
  const seconds = Number(age.exec(metrics)?.[1])
  t.ok(seconds > 0 && seconds <= tookMs / 1000, `${seconds} s of ${tookMs} ms`)
  openpi.socket.terminate()
  const closed = /^turbo_pi_robot_connections\{robot="arm-2",policy="default"\} 0$/m
  let seen = ''
  for (let tries = 0; tries < 100 && !closed.test(seen); tries += 1) seen = await metricsOf(url)
  t.match(seen, closed)
})

t.test('a name that is none is refused, over every wire', async t => {
  const { url } = await startServer({ runtime: { milliseconds: 1 } })
  for (const name of ['', 'a b', '-a', 'x'.repeat(65), 'ä']) {
    const query = `?robot=${encodeURIComponent(name)}`
    const refused = await post(`${url}/infer${query}`, 1)
    t.equal(refused.status, 400, name)
    t.match(await refused.json(), { code: 'ROBOT_INVALID' })
    t.equal(await new TestSocket(`${url}/stream${query}`, ['turbo-pi.v1+json']).opened(), 400)
    t.equal(await new TestSocket(`${url}/${query}`).opened(), 400)
  }
})

t.test('names and connections are bounded', async t => {
  const { url } = await startServer({
    runtime: { milliseconds: 1 },
    config: { maxRobots: 2, robotConnections: 1 },
  })
  await using _first = await TurboPiClient.connect(url, { robot: 'a' })
  t.equal((await post(`${url}/infer?robot=b`, 1)).status, 200)
  const third = await post(`${url}/infer?robot=c`, 1)
  t.equal(third.status, 503)
  t.match(await third.json(), { code: 'TOO_MANY_ROBOTS', detail: /--max-robots/ })
  t.equal((await post(`${url}/infer`, 1)).status, 200, 'who has no name needs no room')
  t.equal(await new TestSocket(`${url}/stream?robot=a`, ['turbo-pi.v1+json']).opened(), 503)
  await t.rejects(TurboPiClient.connect(url, { robot: 'a', waitMs: 100 }), { code: 'DEADLINE_EXCEEDED' })
})

t.test('a stranger without the key adds no name', async t => {
  const { url } = await startServer({
    config: { apiKey: 'secret', maxRobots: 1 },
    runtime: { milliseconds: 1 },
  })
  t.equal((await post(`${url}/infer?robot=stranger`, 1)).status, 401)
  t.equal((await post(`${url}/infer?robot=a`, 1, { authorization: 'Api-Key secret' })).status, 200)
})

t.test('two connections of one robot share its turn', async t => {
  const { url, runtime, accepted } = await startServer()
  const connections = await Promise.all(
    ['greedy', 'greedy', 'modest'].map(async robot => {
      const socket = new TestSocket(`${url}/?robot=${robot}`)
      await socket.frame()
      return socket
    }),
  )
  const busy = post(`${url}/infer`, 9)
  await until(() => runtime.open.length === 1, 'the engine is busy')
  const [one, two, modest] = connections
  one!.send(encodeMsgpack(observation(1)))
  await accepted(2)
  two!.send(encodeMsgpack(observation(2)))
  modest!.send(encodeMsgpack(observation(3)))
  await accepted(4)
  t.match(await metricsOf(url), /^turbo_pi_queue_depth 3$/m)
  await finishAll(runtime)
  await busy
  t.same(
    runtime.calls.filter(call => call.lane === 'perceive').map(call => call.rows[0]?.tokens[0]),
    [9, 1, 3, 2],
    'the second of the greedy robot waits for the modest one',
  )
  for (const connection of connections) connection.socket.terminate()
})
