import { once } from 'node:events'
import { WebSocket } from 'ws'
import { decodeMsgpack, encodeMsgpack, type MsgpackValue, NdArray } from '../contract/msgpack.js'
import { numbersOf } from '../contract/ndarray.js'
import { TurboPiError } from '../errors.js'
import { IMAGE_SIZE } from '../tabletop/drawing.js'
import type { TabletopObservation } from '../tabletop/episode.js'

export const PROTOCOLS = ['stream', 'openpi', 'http'] as const
export type Protocol = (typeof PROTOCOLS)[number]

/** A robot's end of a connection to a policy server. */
export interface Robot {
  /** An action chunk, row by row. openpi's protocol carries neither seed nor steps: the server has its own. */
  infer(observation: TabletopObservation, options: { seed: number; numSteps: number }): Promise<number[][]>
  close(): Promise<void>
}

/** Connects to the server at `url` (http:// or https://). Throws RUNTIME_FAILED when it does not answer. */
export async function connectRobot(protocol: Protocol, url: string, apiKey?: string): Promise<Robot> {
  const headers: Record<string, string> = apiKey === undefined ? {} : { authorization: `Api-Key ${apiKey}` }
  if (protocol === 'http') return httpRobot(url, headers)
  return protocol === 'openpi' ? openpiRobot(url, headers) : streamRobot(url, headers)
}

/** POST /infer, JSON with raw pixels. */
function httpRobot(url: string, headers: Record<string, string>): Robot {
  return {
    async infer(observation, { seed, numSteps }) {
      const response = await fetch(new URL('/infer', url), {
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json' },
        body: JSON.stringify({ ...jsonObservation(observation), options: { seed, num_steps: numSteps } }),
      })
      const body = (await response.json()) as { actions: number[][]; detail?: string }
      if (!response.ok) throw refused(`POST ${url}/infer answered ${response.status}: ${body.detail}`)
      return body.actions
    },
    async close() {},
  }
}

/** openpi's protocol: metadata first, then strict request and reply in msgpack-numpy. */
async function openpiRobot(url: string, headers: Record<string, string>): Promise<Robot> {
  const exchange = await FrameExchange.open(new WebSocket(socketUrl(url, '/'), { headers }))
  await exchange.receive()
  return {
    async infer(observation) {
      exchange.send(encodeMsgpack(numpyObservation(observation)))
      const [frame, isBinary] = await exchange.receive()
      if (!isBinary) throw refused(`The server answered: ${frame}`)
      const { actions } = recordOf(decodeMsgpack(frame))
      return rowsOf(actions as NdArray)
    },
    close: () => exchange.close(),
  }
}

/** WS /stream in msgpack. */
async function streamRobot(url: string, headers: Record<string, string>): Promise<Robot> {
  const socket = new WebSocket(socketUrl(url, '/stream'), 'turbo-pi.v1+msgpack', { headers })
  const exchange = await FrameExchange.open(socket)
  await exchange.receive()
  let seq = 0
  return {
    async infer(observation, { seed, numSteps }) {
      const options = { seed, num_steps: numSteps }
      exchange.send(
        encodeMsgpack({
          type: 'observation',
          seq: seq++,
          observation: numpyObservation(observation),
          options,
        }),
      )
      const [frame] = await exchange.receive()
      const answer = recordOf(decodeMsgpack(frame))
      if (answer['type'] !== 'actions') throw refused(`The server answered: ${JSON.stringify(answer)}`)
      return rowsOf(answer['actions'] as NdArray)
    },
    close: () => exchange.close(),
  }
}

/** Frames of a WebSocket, awaited one by one. */
class FrameExchange {
  readonly #frames: [frame: Buffer, isBinary: boolean][] = []
  #wake: (() => void) | undefined

  private constructor(private readonly socket: WebSocket) {
    socket.on('message', (frame, isBinary) => {
      this.#frames.push([frame as Buffer, isBinary])
      this.#wake?.()
    })
    socket.on('close', () => this.#wake?.())
  }

  static async open(socket: WebSocket): Promise<FrameExchange> {
    const exchange = new FrameExchange(socket)
    await once(socket, 'open')
    return exchange
  }

  send(frame: Uint8Array): void {
    this.socket.send(frame)
  }

  async receive(): Promise<[frame: Buffer, isBinary: boolean]> {
    while (!this.#frames.length) {
      if (this.socket.readyState !== WebSocket.OPEN) throw refused('The server closed the connection.')
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
    return this.#frames.shift()!
  }

  async close(): Promise<void> {
    if (this.socket.readyState === WebSocket.CLOSED) return
    this.socket.close(1000)
    await once(this.socket, 'close')
  }
}

const refused = (detail: string) => new TurboPiError('RUNTIME_FAILED', detail)

function socketUrl(url: string, path: string): URL {
  const result = new URL(path, url)
  result.protocol = result.protocol === 'https:' ? 'wss:' : 'ws:'
  return result
}

function jsonObservation({ image, wristImage, state, prompt }: TabletopObservation) {
  const pixels = (data: Uint8Array) => ({
    data: Buffer.from(data).toString('base64'),
    encoding: 'rgb8',
    width: IMAGE_SIZE,
    height: IMAGE_SIZE,
  })
  return {
    'observation/image': pixels(image),
    'observation/wrist_image': pixels(wristImage),
    'observation/state': [...state],
    prompt,
  }
}

function numpyObservation({ image, wristImage, state, prompt }: TabletopObservation) {
  const pixels = (data: Uint8Array) => new NdArray('|u1', [IMAGE_SIZE, IMAGE_SIZE, 3], data)
  return {
    'observation/image': pixels(image),
    'observation/wrist_image': pixels(wristImage),
    'observation/state': new NdArray('<f8', [state.length], new Uint8Array(state.buffer)),
    prompt,
  }
}

/** A decoded map as a plain record. */
function recordOf(value: MsgpackValue): Record<string, MsgpackValue> {
  return value instanceof Map ? Object.fromEntries(value) : (value as Record<string, MsgpackValue>)
}

function rowsOf(array: NdArray): number[][] {
  const numbers = numbersOf(array)
  const [rows, columns] = array.shape as [number, number]
  return Array.from({ length: rows }, (_, row) => [...numbers.subarray(row * columns, (row + 1) * columns)])
}
