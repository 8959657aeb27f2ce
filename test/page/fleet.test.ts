import t from 'tap'
import type { Fleet, Totals } from '../../src/contract/page.js'
import { EMBODIMENTS } from '../../src/policy/embodiment.js'
import { createServer } from '../../src/server/standalone.js'
import { Served } from '../../src/service/served.js'
import { PolicyService } from '../../src/service/service.js'
import { startBrowser, withoutBrowser } from '../support/browser.js'
import { serveEmbodiment } from '../support/embodied-server.js'
import { fakePolicy } from '../support/fake-policy.js'
import { FakeRuntime } from '../support/fake-runtime.js'
import { startServer, stopServers, TestSocket } from '../support/server.js'

const skip = withoutBrowser
t.teardown(stopServers)

const observation = {
  'observation/image': {
    data: Buffer.alloc(48, 200).toString('base64'),
    encoding: 'rgb8',
    width: 4,
    height: 4,
  },
  'observation/state': [1, 2],
}

const post = (url: string, robot: string, body: object = observation) =>
  fetch(`${url}/infer?robot=${robot}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })

const fleetOf = async (url: string) => (await (await fetch(`${url}/page/fleet`)).json()) as Fleet

t.test('the fleet tells of each robot how it fares, whatever wire it takes', async t => {
  const { url } = await startServer({ runtime: { milliseconds: 1 } })
  t.same(await fleetOf(url), { known: 0, robots: [] })
  t.equal((await post(url, 'arm-1')).status, 200)
  t.equal((await post(url, 'arm-1', { prompt: 'nothing else' })).status, 422)
  const socket = new TestSocket(`${url}/stream?robot=arm-2`, ['turbo-pi.v1+json'])
  await socket.json()
  socket.send({ type: 'observation', seq: 0, observation })
  t.match(await socket.json(), { type: 'actions' })
  socket.send({ type: 'observation', seq: 1, captured_at: Date.now() - 60_000, deadline_ms: 1, observation })
  t.match(await socket.json(), { type: 'skipped', reason: 'expired' })
  const { known, robots } = await fleetOf(url)
  t.equal(known, 2)
  const [one, two] = ['arm-1', 'arm-2'].map(name => robots.find(({ robot }) => robot === name)!)
  t.match(one, { answers: 1, errors: 1, last_error: 'OBSERVATION_INVALID', connections: 0, held: null })
  t.match(two, { answers: 1, errors: 0, skipped: 1, connections: 1, policy: 'default' })
  t.ok(two!.age_ms! > 0 && two!.heard_ms >= 0)
  socket.socket.terminate()
})

t.test('robots that need somebody come first, and no more are told of than can be read', async t => {
  const { url, infer } = await serveEmbodiment(EMBODIMENTS.droid)
  t.equal((await infer('troubled')).status, 200)
  const calm = await startServer({ runtime: { milliseconds: 1 } })
  for (let i = 0; i < 60; i++) t.equal((await post(calm.url, `arm-${i}`)).status, 200)
  t.equal((await post(calm.url, 'arm-7', {})).status, 422)
  // Another picture: the same one for seconds would be a frozen camera, and trouble.
  const data = Buffer.alloc(48, 20).toString('base64')
  const moved = { ...observation, 'observation/image': { ...observation['observation/image'], data } }
  t.equal((await post(calm.url, 'arm-3', moved)).status, 200)
  const { known, robots } = await fleetOf(calm.url)
  t.equal(known, 60)
  t.equal(robots.length, 50)
  t.same(
    robots.slice(0, 3).map(({ robot }) => robot),
    ['arm-7', 'arm-3', 'arm-59'],
    'trouble first, then who was heard last',
  )
  t.match((await fleetOf(url)).robots, [{ findings: 1, last_finding: { kind: 'joint_step' } }])
})

t.test('the figures of the page cover all policies', async t => {
  const served = await Promise.all(
    ['left', 'right'].map(async name => {
      const runtime = new FakeRuntime({ milliseconds: 1 })
      const service = new PolicyService({ policy: fakePolicy(), runtime: Promise.resolve(runtime) })
      await service.start()
      return new Served(service, { name })
    }),
  )
  const app = await createServer(served as [Served, ...Served[]], { apiKey: undefined, bodyLimit: 2 ** 20 })
  t.teardown(() => app.close())
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  for (const name of ['left', 'right', 'right'])
    t.equal((await post(`${url}/policies/${name}`, 'arm-1')).status, 200)
  const { answers, ...timed } = (await (await fetch(`${url}/page/figures`)).json()) as Totals
  t.equal(answers, 3)
  for (const { count, seconds } of [timed.answered, timed.engine]) {
    t.equal(count, 3)
    t.ok(seconds > 0)
  }
})

t.test('the page shows the fleet', { skip }, async t => {
  const visit = await startBrowser(t)
  const { url, infer } = await serveEmbodiment(EMBODIMENTS.aloha)
  await visit(t, url, {}, async page => {
    await page.goto(url)
    await page.getByText('No robot has named itself yet').waitFor()
    t.equal((await infer('arm-1')).status, 200)
    const row = page.getByRole('row', { name: /arm-1/ })
    await row.getByText(/joint step: right wrist rotate \(rad\)/).waitFor()
    t.match(await row.locator('[data-label="Age"]').textContent(), /^[\d.]+ m?s$/)
    t.equal(await row.locator('[data-label="Errors"]').textContent(), '0')
    t.equal((await post(url, 'arm-1', {})).status, 422)
    await row.getByText('OBSERVATION_INVALID').waitFor()
  })
})
