import http from 'node:http'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { decodeMsgpack, encodeMsgpack } from '../../src/contract/msgpack.js'
import { startServer, stopServers, type TestServer, TestSocket } from '../support/server.js'
import { type Budget, nothingYet, type Outcome, seedsOf } from './loop.js'
import { messageTargets, SPEC } from './messages.js'
import { mutateBytes } from './mutate-bytes.js'
import { Random } from './random.js'
import type { Target } from './target.js'

/** Milliseconds in which every message has its answer. */
const ANSWER_MS = 60_000
const MOST_FAULTS = 5
const BESIDE = 16

/** Sends an input to a server; tells what is wrong with what comes back. */
type Send = (input: Buffer) => Promise<{ refused: boolean; fault?: string }>
interface Wire {
  name: string
  target: Target
  /** One client. */
  open: (server: TestServer) => Send
}

const within = <T>(work: Promise<T>): Promise<T> =>
  Promise.race([
    work,
    sleep(ANSWER_MS, undefined, { ref: false }).then(() => {
      throw new Error(`no answer in ${ANSWER_MS / 1000} s`)
    }),
  ])

/** An overloaded server may say so; a fault of its own it may not have. */
const faultIn = (status: number, text: string): string | undefined => {
  if (status >= 500 && status !== 503 && status !== 504) return `status ${status}: ${text.slice(0, 300)}`
  if (status >= 400 && !/"code":"[A-Z_]+"/.test(text))
    return `no problem document: ${status} ${text.slice(0, 300)}`
  if (text.length > 20_000) return `a refusal of ${text.length} bytes`
  return /\n {4}at |node_modules/.test(text) ? `a stack: ${text.slice(0, 300)}` : undefined
}

const told = (status: number, text: string) => {
  const fault = faultIn(status, text)
  return { refused: status >= 400, ...(fault && { fault }) }
}

function post(type: string): Wire['open'] {
  const agent = new http.Agent({ keepAlive: true, maxSockets: BESIDE })
  return ({ url }) =>
    input =>
      new Promise((resolve, reject) => {
        const call = http.request(
          `${url}/infer`,
          { agent, method: 'POST', headers: { 'content-type': type } },
          answer => {
            const parts: Buffer[] = []
            answer.on('data', part => parts.push(part)).on('error', reject)
            answer.on('end', () =>
              resolve(
                told(answer.statusCode!, answer.statusCode === 200 ? '' : String(Buffer.concat(parts))),
              ),
            )
          },
        )
        call.on('error', reject).end(input)
      })
}

/** After each message the time is asked for: its answer says that the connection lives and the message has been dealt with. */
function stream(protocol: string): Wire['open'] {
  const json = protocol.endsWith('json')
  const parsed = (frame: Buffer) =>
    (json ? JSON.parse(String(frame)) : decodeMsgpack(frame)) as Record<string, unknown>
  return server => {
    let client: TestSocket | undefined
    let asked = 1e9
    return async input => {
      if (!client || client.socket.readyState !== client.socket.OPEN) {
        client = new TestSocket(`${server.url}/stream`, [protocol])
        if (parsed((await client.frame()).frame)['type'] !== 'ready')
          throw new Error('the server is not ready')
      }
      asked += 1
      const time = { type: 'time', sent_at: asked }
      client.send(json ? input.toString() : input)
      client.send(json ? JSON.stringify(time) : encodeMsgpack(time))
      let refused = false
      for (;;) {
        let answer: Record<string, unknown>
        try {
          answer = parsed((await client.frame()).frame)
        } catch {
          const { code } = await client.closed
          return {
            refused: true,
            ...([1003, 1007, 1008].includes(code) ? {} : { fault: `closed with ${code}` }),
          }
        }
        if (answer['type'] === 'time' && answer['sent_at'] === asked) return { refused }
        if (answer['type'] !== 'error') continue
        refused = true
        const problem = answer['error'] as { status: number }
        const fault = faultIn(problem.status, JSON.stringify(problem))
        if (fault) return { refused, fault }
      }
    }
  }
}

const openpi: Wire['open'] = server => {
  let client: TestSocket | undefined
  return async input => {
    if (!client || client.socket.readyState !== client.socket.OPEN) {
      client = new TestSocket(server.url)
      await client.frame()
    }
    client.send(input)
    const { frame, isBinary } = await client.frame()
    if (isBinary) return { refused: false }
    await client.closed
    const text = String(frame)
    const fault = /\(INTERNAL\)|\n {4}at /.test(text) || text.length > 20_000 ? text.slice(0, 300) : undefined
    return { refused: true, ...(fault && { fault }) }
  }
}

/** Bytes on a connection: whatever they are, it ends, and what is said is HTTP. */
const bytes: Wire['open'] = server => input =>
  new Promise((resolve, reject) => {
    const socket = net.connect(Number(new URL(server.url).port), '127.0.0.1')
    let said = ''
    socket.on('data', data => {
      said += data
    })
    socket
      .on('error', () => {})
      .on('close', () => {
        if (said && !said.startsWith('HTTP/1.1 ')) return reject(new Error(`said ${said.slice(0, 100)}`))
        const status = Number(said.slice(9, 12))
        resolve(status >= 400 ? told(status, said) : { refused: false })
      })
    socket.end(input)
  })

const named = (name: string) => messageTargets.find(target => target.name === name)!
const REQUEST = Buffer.from(
  'POST /infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
)

export const wires: readonly Wire[] = [
  { name: 'POST JSON', target: named('request-json'), open: post('application/json') },
  { name: 'POST MessagePack', target: named('request-msgpack'), open: post('application/msgpack') },
  { name: 'WS /stream JSON', target: named('stream-json'), open: stream('turbo-pi.v1+json') },
  { name: 'WS /stream MessagePack', target: named('stream-msgpack'), open: stream('turbo-pi.v1+msgpack') },
  { name: 'WS /', target: named('openpi'), open: openpi },
  {
    name: 'HTTP',
    target: { name: 'http', kind: 'message', seeds: () => [REQUEST], mutate: mutateBytes, read: () => {} },
    open: bytes,
  },
]

/** Sends changed messages to a listening server, several clients at once; every one must have its answer. */
export async function fuzzWire({ name, target, open }: Wire, budget: Budget): Promise<Outcome> {
  const server = await startServer({
    runtime: { milliseconds: 0 },
    policy: { spec: SPEC },
    // Bytes that never become a request have their answer when their time is over; for all others a busy machine may take it.
    config: name === 'HTTP' ? { requestTimeout: 1000 } : {},
  })
  const random = new Random(budget.seed)
  const corpus = seedsOf(target)
  const outcome = nothingYet({ name, kind: 'message' })
  const end = performance.now() + budget.milliseconds
  const client = async () => {
    const send = open(server)
    while (outcome.inputs < budget.inputs && performance.now() < end && outcome.faults.length < MOST_FAULTS) {
      const input = target.mutate(random.of(corpus), random.of(corpus), random)
      outcome.inputs += 1
      const start = performance.now()
      const { refused, fault } = await within(send(input)).catch((error: Error) => ({
        refused: true,
        fault: error.message,
      }))
      outcome.worstMs = Math.max(outcome.worstMs, performance.now() - start)
      if (refused) outcome.refused += 1
      if (fault) outcome.faults.push({ what: fault, input: input.toString('base64') })
    }
  }
  await Promise.all(Array.from({ length: BESIDE }, client))
  await stopServers()
  return outcome
}
