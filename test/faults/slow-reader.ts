import { WebSocket } from 'ws'
import { type Fault, outcome } from './fault.js'
import { Load } from './load.js'
import { FaultServer } from './server.js'

export const fault: Fault = {
  name: 'slow-reader',
  what: 'a client that asks as fast as it can and never reads an answer',
  async run() {
    const server = await FaultServer.start()
    const load = new Load(server.url)
    const greedy = new WebSocket(`${server.url.replace('http', 'ws')}/stream`, ['turbo-pi.v1+json'])
    greedy.on('error', () => {})
    await new Promise(resolve => greedy.once('message', resolve))
    greedy.pause()
    const closed = new Promise<boolean>(resolve => greedy.once('close', () => resolve(true)))
    // Refused with a problem document each, which is longer than what was asked.
    const wrong = JSON.stringify({ type: 'observation', seq: 0, observation: { 'observation/state': [0] } })
    const start = performance.now()
    let dropped = false
    void closed.then(() => {
      dropped = true
    })
    while (!dropped && performance.now() - start < 20_000) {
      for (let i = 0; i < 500 && greedy.readyState === greedy.OPEN; i += 1) greedy.send(wrong)
      // What is not read has to reach the close frame before the client can hear of it.
      if (server.logged('not read fast enough')) greedy.resume()
      await new Promise(resolve => setTimeout(resolve, 10))
    }
    greedy.terminate()
    const recoveryMs = await load.recovery()
    const said = server.logged('"code":1013') || server.logged('not read fast enough')
    return outcome(server, load, {
      recoveryMs,
      seen: dropped ? 'it was dropped (1013)' : 'it was never dropped',
      ok: dropped || said,
    })
  },
}
