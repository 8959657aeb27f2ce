import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import t from 'tap'
import { encodeMsgpack, NdArray } from '../../src/contract/msgpack.js'
import { repositoryPath } from '../support/served-policy.js'
import { TestSocket } from '../support/server.js'

const pixels = new Uint8Array(224 * 224 * 3)
const observation = (robot: number) => ({
  'observation/image': new NdArray('|u1', [224, 224, 3], pixels),
  'observation/wrist_image': new NdArray('|u1', [224, 224, 3], pixels),
  'observation/state': Array.from({ length: 8 }, () => robot / 100),
  prompt: 'pick up the black bowl',
})

/** `turbo-pi serve` with the bundled policy, once it listens. */
async function serve(): Promise<{ child: ChildProcess; url: string }> {
  const child = spawn(
    process.execPath,
    ['--import=tsx', repositoryPath('src/cli.ts'), 'serve', '--port', '0', '--log-level', 'info'],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, NODE_OPTIONS: '' } },
  )
  for await (const line of createInterface({ input: child.stdout! })) {
    const url = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0]
    if (url) {
      child.stdout!.resume()
      return { child, url }
    }
  }
  throw new Error('turbo-pi serve ended without listening')
}

t.test('SIGTERM under load: what was accepted is answered, then 1001, then exit 0', async t => {
  const { child, url } = await serve()
  t.teardown(() => child.kill('SIGKILL'))
  const exited = once(child, 'exit')

  const robots = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const client = new TestSocket(`${url}/stream`, ['turbo-pi.v1+msgpack'])
      await client.frame()
      return client
    }),
  )
  const strict = new TestSocket(url)
  await strict.frame()
  t.equal((await fetch(`${url}/readyz`)).status, 200, 'sockets are greeted once the engine is warm')

  for (const [robot, client] of robots.entries()) {
    client.send(encodeMsgpack({ type: 'observation', seq: 1, observation: observation(robot) }))
  }
  strict.send(encodeMsgpack(observation(10)))
  const posts = Array.from({ length: 8 }, (_, robot) =>
    fetch(`${url}/infer`, {
      method: 'POST',
      headers: { 'content-type': 'application/msgpack' },
      body: encodeMsgpack(observation(20 + robot)),
    }),
  )
  // The first answer shows that the load has arrived; most of it still waits.
  const first = await Promise.race(posts)
  t.equal(first.status, 200)
  child.kill('SIGTERM')

  for (const response of await Promise.all(posts)) {
    t.equal(response.status, 200)
    await response.arrayBuffer()
  }
  for (const client of robots) t.ok((await client.frame()).frame.includes('actions'))
  t.ok((await strict.frame()).isBinary)
  for (const client of [...robots, strict]) t.equal((await client.closed).code, 1001)
  t.same(await exited, [0, null])
})
