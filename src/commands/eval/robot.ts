import { on, once } from 'node:events'
import { WebSocket } from 'ws'
import { rgbImage, TurboPiClient } from '../../client/index.js'
import { decodeMsgpack, encodeMsgpack, type MsgpackValue, NdArray } from '../../contract/msgpack.js'
import { numbersOf } from '../../contract/ndarray.js'
import { reasonOf, TurboPiError } from '../../errors.js'
import { IMAGE_SIZE } from '../../tabletop/drawing.js'
import type { TabletopObservation } from '../../tabletop/episode.js'

export const PROTOCOLS = ['stream', 'openpi', 'http'] as const
export type Protocol = (typeof PROTOCOLS)[number]

/** A robot's end of a connection to a policy server. */
export interface Robot {
  /** An action chunk, row by row. openpi's protocol carries neither seed nor steps: the server has its own. */
  infer(observation: TabletopObservation, options: { seed: number; numSteps: number }): Promise<number[][]>
  close(): Promise<void>
}

/** Connects to the server at `url` (http:// or https://). Throws CONFIG_INVALID when nothing answers there. */
export async function connectRobot(protocol: Protocol, url: string, apiKey?: string): Promise<Robot> {
  await fetch(new URL('/healthz', url)).catch(error => {
    throw new TurboPiError(
      'SERVER_UNREACHABLE',
      `--url ${url}: no server answers there (${reasonOf(error.cause ?? error)}). Start one with turbo-pi serve.`,
    )
  })
  const headers: Record<string, string> = apiKey === undefined ? {} : { authorization: `Api-Key ${apiKey}` }
  if (protocol === 'http') return httpRobot(url, headers)
  return protocol === 'openpi' ? openpiRobot(url, headers) : streamRobot(url, apiKey)
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
  const address = new URL('/', url)
  address.protocol = address.protocol.replace('http', 'ws')
  const socket = new WebSocket(address, { headers })
  const frames = on(socket, 'message', { close: ['close'] })
  const receive = async () => {
    const { value, done } = await frames.next()
    if (done) throw refused('The server closed the connection.')
    const [frame, isBinary] = value as [frame: Buffer, isBinary: boolean]
    if (!isBinary) throw refused(`The server answered: ${frame}`)
    return decodeMsgpack(frame)
  }
  await receive()
  return {
    async infer(observation) {
      socket.send(encodeMsgpack(numpyObservation(observation)))
      const reply = (await receive()) as Record<string, MsgpackValue>
      return rowsOf(reply['actions'] as NdArray)
    },
    async close() {
      socket.close(1000)
      await once(socket, 'close')
    },
  }
}

/** WS /stream, with this package's client. */
async function streamRobot(url: string, apiKey: string | undefined): Promise<Robot> {
  const client = await TurboPiClient.connect(url, apiKey === undefined ? {} : { apiKey })
  return {
    infer: async (observation, options) =>
      (await client.infer(numpyObservation(observation), options)).actions,
    close: () => client.close(),
  }
}

const refused = (detail: string) => new TurboPiError('RUNTIME_FAILED', detail)

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
  const pixels = (data: Uint8Array) => rgbImage(data, IMAGE_SIZE, IMAGE_SIZE)
  return {
    'observation/image': pixels(image),
    'observation/wrist_image': pixels(wristImage),
    'observation/state': new NdArray('<f8', [state.length], new Uint8Array(state.buffer)),
    prompt,
  }
}

function rowsOf(array: NdArray): number[][] {
  const numbers = numbersOf(array)
  const [rows, columns] = array.shape as [number, number]
  return Array.from({ length: rows }, (_, row) => [...numbers.subarray(row * columns, (row + 1) * columns)])
}
