import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type ClientObservation, rgbImage, TurboPiClient } from '../../src/client/index.js'
import { Random } from '../../src/tabletop/random.js'
import { startServer, stopServers } from '../support/server.js'
import { TcpProxy, type Weather } from '../support/tcp-proxy.js'

t.teardown(stopServers)

const SCHEDULES = 200
const AT_ONCE = 25
/** A call without an answer is to end this long after its deadline. */
const LIMIT_MS = 1000

const observation: ClientObservation = {
  'observation/image': rgbImage(new Uint8Array(48), 4, 4),
  'observation/state': [1, 0],
  prompt: 'do it',
}

const BEAT_MS = 20
/** Milliseconds that this process has lived: while it stands still they do, too. What the machine takes is not the client's. */
let lived = 0
const beat = setInterval(() => {
  lived += BEAT_MS
}, BEAT_MS)
t.teardown(() => clearInterval(beat))

const between = (random: Random, low: number, high: number) => low + random.integer(high - low + 1)

function weatherOf(random: Random): Weather {
  const kinds: Weather[] = [
    { kind: 'forward' },
    { kind: 'swallow' },
    { kind: 'delay', ms: between(random, 10, 250) },
    { kind: 'drop' },
    { kind: 'cut', bytes: between(random, 0, 40) },
  ]
  return random.pick(kinds)
}

/** One robot under one weather. Returns the calls that were answered, and what was wrong. */
async function live(seed: number, port: number): Promise<{ answered: number; wrong: string[] }> {
  const random = new Random(seed)
  const proxy = await TcpProxy.before(port)
  const wrong: string[] = []
  let answered = 0
  let done = false
  // The first connection is made under weather, too.
  proxy.become(weatherOf(random))
  const weather = (async () => {
    for (let change = between(random, 3, 8); change > 0; change -= 1) {
      await sleep(between(random, 20, 250))
      proxy.become(weatherOf(random))
    }
    proxy.become({ kind: 'forward' })
    done = true
  })()
  const client = await TurboPiClient.connect(`127.0.0.1:${proxy.port}`, {
    // Attempts of many robots at once delay each other: were they given up before they can succeed, and begun again at once, a
    // loaded machine would do nothing else.
    backoffMs: [10, 1000],
    connectTimeoutMs: 2000,
    readyTimeoutMs: 2000,
    robot: `robot-${seed}`,
  })
  const ask = async (deadlineMs: number) => {
    const start = lived
    try {
      await client.infer(observation, { deadlineMs, seed: 0 })
      answered += 1
      return true
    } catch {
      return false
    } finally {
      const took = lived - start
      if (took > deadlineMs + LIMIT_MS)
        wrong.push(`seed ${seed}: a call took ${took} ms, its deadline was ${deadlineMs}`)
    }
  }
  // Some calls wait for each other, as those of several tasks of one robot do.
  while (!done) {
    await Promise.all(Array.from({ length: between(random, 1, 3) }, () => ask(between(random, 20, 300))))
    await sleep(between(random, 0, 30))
  }
  await weather
  let back = false
  for (let attempt = 0; attempt < 30 && !back; attempt += 1) back = await ask(2000)
  if (!back) wrong.push(`seed ${seed}: no answer once the network was well again`)
  await client.close()
  await proxy.close()
  return { answered, wrong }
}

t.test(
  `${SCHEDULES} random schedules of a bad network: every call ends in time, and the client comes back`,
  async t => {
    const { url } = await startServer({
      runtime: { milliseconds: 2, maxBatch: 8 },
      config: { heartbeat: 500 },
    })
    const port = Number(new URL(url).port)
    let answered = 0
    for (let seed = 0; seed < SCHEDULES; seed += AT_ONCE) {
      const results = await Promise.all(Array.from({ length: AT_ONCE }, (_, at) => live(seed + at, port)))
      t.same(
        results.flatMap(({ wrong }) => wrong),
        [],
        `seeds ${seed} to ${seed + AT_ONCE - 1}`,
      )
      answered += results.reduce((sum, result) => sum + result.answered, 0)
    }
    t.ok(answered > SCHEDULES, `${answered} calls were answered`)
  },
)

async function behindProxy(t: Test, heartbeat = 500) {
  const server = await startServer({ runtime: { milliseconds: 1 }, config: { heartbeat } })
  const proxy = await TcpProxy.before(Number(new URL(server.url).port))
  t.teardown(() => proxy.close())
  const client = await TurboPiClient.connect(`http://127.0.0.1:${proxy.port}/`, { backoffMs: [5, 50] })
  t.teardown(() => client.close())
  return { server, proxy, client }
}

t.test(
  'a link that stands still is lost after two heartbeats, told as an event, and opened anew',
  async t => {
    const { proxy, client } = await behindProxy(t)
    const events: string[] = []
    client.on('lost', ({ error, final }) => events.push(`${error.code} ${final}`))
    client.on('reconnecting', () => events.push('reconnecting'))
    const again = new Promise<void>(resolve => client.on('ready', () => resolve()))
    proxy.become({ kind: 'swallow' })
    await t.rejects(client.infer(observation), { code: 'CONNECTION_LOST' }, 'without any deadline')
    proxy.become({ kind: 'forward' })
    await again
    t.same(events.slice(0, 2), ['CONNECTION_LOST false', 'reconnecting'])
    t.ok(await client.infer(observation))
  },
)

t.test('a process that stood still does not take its server for lost', async t => {
  const { url } = await startServer({ runtime: { milliseconds: 1 }, config: { heartbeat: 200 } })
  await using client = await TurboPiClient.connect(url)
  const lost: string[] = []
  client.on('lost', ({ error }) => lost.push(error.message))
  // The client is due to give up before it reads what has come meanwhile.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000)
  t.ok(await client.infer(observation))
  t.same(lost, [])
})

t.test('a call ends by its signal, whatever the network does', async t => {
  const { proxy, client } = await behindProxy(t, 60_000)
  proxy.become({ kind: 'swallow' })
  const abort = new AbortController()
  const [sent, queued] = [
    client.infer(observation, { signal: abort.signal }),
    client.infer(observation, { signal: abort.signal }),
  ]
  abort.abort(new Error('the robot has stopped'))
  await t.rejects(sent, /the robot has stopped/)
  await t.rejects(queued, /the robot has stopped/)
  await t.rejects(client.infer(observation, { signal: abort.signal }), /the robot has stopped/)
})
