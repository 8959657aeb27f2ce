import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
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
// So many that most of it still waits when all has arrived.
const options = { num_steps: 50 }

/** Requests that a server has accepted since its start: those in its queue, and those that its engine has taken up. */
async function accepted(url: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text()
  const number = (name: string) => Number(new RegExp(`^turbo_pi_${name} (\\d+)$`, 'm').exec(metrics)![1])
  return number('queue_depth') + number('batch_rows_sum')
}

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

  const before = await accepted(url)
  for (const [robot, client] of robots.entries()) {
    client.send(encodeMsgpack({ type: 'observation', seq: 1, observation: observation(robot), options }))
  }
  strict.send(encodeMsgpack(observation(10)))
  const posts = Array.from({ length: 8 }, (_, robot) =>
    fetch(`${url}/infer`, {
      method: 'POST',
      headers: { 'content-type': 'application/msgpack' },
      body: encodeMsgpack({ ...observation(20 + robot), options }),
    }),
  )
  while ((await accepted(url)) < before + 13) await sleep(5)
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
