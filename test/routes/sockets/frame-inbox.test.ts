import { EventEmitter } from 'node:events'
import { Socket } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fastify from 'fastify'
import t from 'tap'
import type { WebSocket } from 'ws'
import { Connections } from '../../../src/routes/connections.js'
import { Turns } from '../../../src/routes/event-loop-turns.js'
import { RequestMemory } from '../../../src/routes/request-memory.js'
import { Connection, Sockets } from '../../../src/routes/sockets/connection.js'
import { Inbox } from '../../../src/routes/sockets/frame-inbox.js'

/** What an inbox sees of a WebSocket. */
class Peer extends EventEmitter {
  isPaused = false

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    this.isPaused = false
  }

  sends(...frames: string[]): void {
    for (const frame of frames) this.emit('message', Buffer.from(frame), false)
  }
}

function setUp(limit: number) {
  const peer = new Peer()
  const socket = peer as unknown as WebSocket
  const limits = {
    heartbeatMs: 1e6,
    sendBufferBytes: 1000,
    clockToleranceMs: 0,
    maxRobots: 1,
    maxConnections: 1,
  }
  const memory = new RequestMemory(1e6)
  const bounds = { connections: new Connections(fastify().server), memory, carried: memory }
  const connection = new Connection(socket, new Socket(), new Sockets(limits, bounds), 'fake', undefined)
  return { peer, connection, inbox: new Inbox(socket, connection, new Turns(), limit) }
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await nextTurn()
}

t.test('a frame is handed over when the one before it has been dealt with', async t => {
  const { peer, inbox } = setUp(8)
  const taken: string[] = []
  const done: (() => void)[] = []
  peer.sends('early')
  inbox.open(frame => {
    taken.push(String(frame))
    return new Promise<void>(resolve => done.push(resolve))
  })
  peer.sends('second', 'third')
  await turns(3)
  t.same(taken, ['early'])
  done[0]?.()
  await turns(3)
  t.same(taken, ['early', 'second'])
})

t.test('a connection is not read while as many frames as it may have wait', async t => {
  const { peer, inbox } = setUp(2)
  peer.sends('first')
  t.notOk(peer.isPaused)
  peer.sends('second')
  t.ok(peer.isPaused)
  inbox.open(() => {})
  t.notOk(peer.isPaused, 'the first one waits for its turn outside')
  await turns(3)
  t.notOk(peer.isPaused)
})

t.test('what waits when the connection goes is dropped', async t => {
  const { peer, inbox } = setUp(8)
  inbox.open(() => {
    t.fail('nobody waits for this answer')
  })
  peer.sends('first', 'second')
  peer.emit('close')
  await turns(4)
})

t.test('a drain lets a frame that waits for its turn have it', async t => {
  const { peer, connection, inbox } = setUp(8)
  const order: string[] = []
  inbox.open(frame => {
    order.push(String(frame))
  })
  peer.sends('first')
  Object.assign(peer, {
    close: () => {
      order.push('closed')
      peer.emit('close')
    },
  })
  await connection.drain()
  t.same(order, ['first', 'closed'])
})
