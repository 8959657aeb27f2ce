import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Fault, outcome } from './fault.js'
import { Load } from './load.js'
import { FaultServer } from './server.js'

export const fault: Fault = {
  name: 'slow-sender',
  what: '40 clients that send a body of 4 MB byte by byte, and never end it',
  async run() {
    const server = await FaultServer.start()
    const load = new Load(server.url)
    const { port } = new URL(server.url)
    const clients = Array.from({ length: 40 }, () => {
      const socket = connect(Number(port), '127.0.0.1').on('error', () => {})
      socket.write(
        `POST /infer HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n\r\n{`,
      )
      return socket
    })
    for (let round = 0; round < 30; round += 1) {
      for (const client of clients) client.write(' ')
      await sleep(100)
    }
    const recoveryMs = await load.recovery()
    const result = await outcome(server, load, {
      recoveryMs,
      seen: 'the others were answered meanwhile, and the stop was clean',
      ok: true,
    })
    for (const client of clients) client.destroy()
    return result
  },
}
