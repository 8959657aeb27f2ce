import t from 'tap'
import { WebSocket } from 'ws'
import type { PolicyClient } from '../../src/client/client.js'
import { type ClientOptions, rgbImage } from '../../src/client/index.js'
import { startServer, stopServers } from '../support/server.js'

t.teardown(stopServers)

/** By address: it is compiled with a browser's types. */
const { BrowserClient } = (await import(new URL('../../src/client/browser.ts', import.meta.url).href)) as {
  BrowserClient: {
    connect(url: string, options?: ClientOptions): Promise<PolicyClient>
    start(url: string, options?: ClientOptions): PolicyClient
  }
}
/** What browsers have, and Node.js 20 has not. An error that nobody listens to is nothing there. */
class BrowserSocket extends WebSocket {
  constructor(url: string, protocols: string[]) {
    super(url, protocols)
    this.on('error', () => {})
  }
}
Object.assign(globalThis, { WebSocket: BrowserSocket })

const observation = {
  'observation/image': rgbImage(new Uint8Array(48), 4, 4),
  'observation/state': [5, 0],
}

t.test('the browser’s client: text frames, the key as a subprotocol', async t => {
  const { url } = await startServer({ config: { apiKey: 'sesame' }, runtime: { milliseconds: 1 } })
  const client = await BrowserClient.connect(url, { apiKey: 'sesame', robot: 'page' })
  const chunk = await client.infer(observation, { seed: 0 })
  t.same(chunk.actions, [
    [5, 5],
    [5, 5],
  ])
  await t.rejects(client.infer(observation, { numSteps: 99 }), { code: 'OPTIONS_INVALID' })
  await client.close()
  await t.rejects(BrowserClient.connect(url, { apiKey: 'wrong', waitMs: 100, backoffMs: [5, 20] }), {
    code: 'DEADLINE_EXCEEDED',
  })
})

t.test(
  'a client that is started connects in the background, and hears heartbeats where it hears no pings',
  async t => {
    const server = await startServer({ config: { heartbeat: 400 }, runtime: { milliseconds: 1 } })
    const client = BrowserClient.start(server.url)
    t.equal(client.ready, false)
    t.equal(client.session, undefined)
    t.throws(() => client.metadata, { code: 'CONNECTION_LOST' })
    t.ok(await client.infer(observation), 'calls wait for the server')
    let lost = 0
    client.on('lost', () => {
      lost += 1
    })
    await new Promise(resolve => setTimeout(resolve, 2800))
    t.equal(lost, 0, 'silent for seven heartbeats but for those')
    t.equal(client.ready, true)
    await client.close()
    t.equal(client.ready, false)
  },
)
