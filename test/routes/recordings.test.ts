import { readdirSync } from 'node:fs'
import t from 'tap'
import { rgbImage, TurboPiClient } from '../../src/client/index.js'
import { Recorder } from '../../src/recording/recorder.js'
import { createServer } from '../../src/server/standalone.js'
import { Served } from '../../src/service/served.js'
import { PolicyService } from '../../src/service/service.js'
import { fakePolicy } from '../support/fake-policy.js'
import { FakeRuntime } from '../support/fake-runtime.js'
import { allOf, filesIn } from '../support/recording.js'
import { startServer, stopServers, TestSocket } from '../support/server.js'

t.teardown(stopServers)

async function recordingServer(directory: string) {
  const service = new PolicyService({
    policy: fakePolicy(),
    runtime: Promise.resolve(new FakeRuntime({ milliseconds: 0 })),
  })
  await service.start()
  const served = new Served(service)
  const log = { info: () => {}, warn: () => {} }
  const limits = { maxBytes: 1e9, maxMs: 1e9, minFree: 0 }
  const recorder = new Recorder(served, { directory, cameras: 'exact', ...limits, log })
  const app = await createServer(
    [served],
    { apiKey: undefined, bodyLimit: 2 ** 20 },
    {
      recorders: new Map([[served, recorder]]),
    },
  )
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(async () => {
    await recorder.close()
    await app.close()
    await service.close()
  })
  const ask = async (path: string, body?: unknown) => {
    const content =
      body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }
    const response = await fetch(`${url}${path}`, {
      method: path === '/recordings' ? 'GET' : 'POST',
      ...content,
    })
    return { status: response.status, ...((await response.json()) as Record<string, unknown>) }
  }
  return { url, ask }
}

t.test('recordings are started and stopped by request, and hold what a client reports', async t => {
  const directory = t.testdir({})
  const { url, ask } = await recordingServer(directory)
  t.match(await ask('/recordings'), { status: 200, recording: false, observations: 0 })
  t.match(await ask('/recordings/start', { robots: ['arm-1'] }), {
    status: 200,
    recording: true,
    robots: ['arm-1'],
  })
  const client = await TurboPiClient.connect(url, { robot: 'arm-1' })
  const seen = { 'observation/image': rgbImage(new Uint8Array(48), 4, 4), 'observation/state': [3, 0] }
  const chunk = await client.infer(seen)
  t.ok(client.executed([1.5, 2], { chunk, row: 0 }))
  t.ok(client.mark('success', 'in the bowl'))
  client.reset()
  await client.infer(seen)
  await client.close()
  const stopped = await ask('/recordings/stop')
  t.match(stopped, { status: 200, recording: false, observations: 2, dropped: 0, files: 1 })
  const all = await allOf(filesIn(directory)[0]!)
  t.same(
    all.map(({ kind }) => kind),
    ['policy', 'observation', 'executed', 'mark', 'reset', 'observation'],
  )
  const executed = all.find(({ kind }) => kind === 'executed')
  const [first] = all.filter(one => one.kind === 'observation')
  t.match(executed, { robot: 'arm-1', action: [1.5, 2], seq: chunk.seq, row: 0 })
  t.equal(first?.seq, chunk.seq)
  t.match(
    all.find(({ kind }) => kind === 'mark'),
    { mark: 'success', text: 'in the bowl' },
  )
})

t.test('no name leads anywhere but into the directory', async t => {
  const directory = t.testdir({ recordings: {} })
  const { ask } = await recordingServer(`${directory}/recordings`)
  for (const robot of ['../arm', '/etc/passwd', 'a/b', '..', '', 'a\u0000b'])
    t.match(
      await ask('/recordings/start', { robots: [robot] }),
      { status: 400, code: 'ROBOT_INVALID' },
      robot,
    )
  t.match(await ask('/recordings/start', { directory: '/tmp' }), { status: 400, code: 'BODY_MALFORMED' })
  t.match(await ask('/recordings/start', { robots: [] }), { status: 400, code: 'BODY_MALFORMED' })
  t.match(await ask('/recordings'), { recording: false })
  t.same(readdirSync(directory), ['recordings'])
})

t.test('a server that records nothing has no such routes, and takes no reports', async t => {
  const { url } = await startServer({ runtime: { milliseconds: 0 } })
  t.equal((await fetch(`${url}/recordings`)).status, 404)
  const client = await TurboPiClient.connect(url)
  t.notOk(client.executed([1, 2]))
  t.notOk(client.mark('failure'))
  await client.close()
  const socket = new TestSocket(`${url}/stream`, ['turbo-pi.v1+json'])
  const ready = await socket.json<{ features: string[] }>()
  t.notOk(ready.features.includes('report'))
  socket.send({ type: 'report', sent_at: 1 })
  t.match(await socket.json(), { type: 'error', seq: null, error: { code: 'BODY_MALFORMED' } })
  socket.socket.close()
})

t.test('a report that does not fit the robot is refused, and the connection goes on', async t => {
  const { url } = await recordingServer(t.testdir({}))
  const socket = new TestSocket(`${url}/stream`, ['turbo-pi.v1+json'])
  const ready = await socket.json<{ features: string[] }>()
  t.ok(ready.features.includes('report'))
  for (const [report, code] of [
    [{ sent_at: 1, executed: [{ action: [1, 2, 3], at: 0 }] }, 'BODY_MALFORMED'],
    [{ sent_at: 1, marks: [{ kind: 'triumph', at: 0 }] }, 'BODY_MALFORMED'],
    [{ executed: [] }, 'BODY_MALFORMED'],
    [{ sent_at: 1, executed: [{ action: [1, 2], at: 5 }] }, 'OPTIONS_INVALID'],
  ] as const) {
    socket.send({ type: 'report', ...report })
    t.match(await socket.json(), { type: 'error', error: { code } })
  }
  socket.send({ type: 'report', sent_at: 9, executed: [{ action: [1, 2], at: 5 }] })
  socket.send({ type: 'time', sent_at: 9 })
  t.match(await socket.json(), { type: 'time' })
  socket.socket.close()
})
