import type { AddressInfo } from 'node:net'
import { WebSocketServer } from 'ws'

/** The least that a server can do with a frame: the WebSocket library alone, which answers without a look at it. */
const ANSWER = Buffer.alloc(700)
const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false })
server.on('connection', socket => {
  socket.send(ANSWER)
  socket.on('message', () => socket.send(ANSWER))
})
server.once('listening', () => {
  process.send?.(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
})
process.once('disconnect', () => process.exit(0))
