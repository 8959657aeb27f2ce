import { cpSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { decodeMsgpack, encodeMsgpack, type MsgpackValue, type NdArray } from '../../src/contract/msgpack.js'
import { numbersOf } from '../../src/contract/ndarray.js'
import { bundled, editJson, golden, type Json, lerobotCheckpoint, scratch, writeJson } from './checkpoint.js'
import { servePolicy } from './served-policy.js'
import { TestSocket } from './server.js'

/** A request body of test/golden/users, MessagePack. */
export const userBody = (name: string) => readFileSync(golden(`users/${name}.msgpack`))

/** A LeRobot folder of test/golden/users with the bundled weights and tokenizer. */
export function userCheckpoint(t: Test, name: string): string {
  const directory = lerobotCheckpoint(t)
  cpSync(golden(`users/${name}`), directory, { recursive: true })
  return directory
}

/** Edits the settings of one saved step. */
export function editStep(directory: string, file: string, step: string, edit: (config: Json) => void): void {
  editJson(join(directory, file), pipeline => {
    const found = (pipeline['steps'] as Json[]).find(({ registry_name }) => registry_name === step) as Json
    found['config'] ??= {}
    edit(found['config'] as Json)
  })
}

/** The bundled weights as an ALOHA policy. */
export function alohaPolicy(t: Test): string {
  const directory = join(scratch(t), 'aloha')
  mkdirSync(directory)
  for (const file of ['model.safetensors', 'config.json', 'tokenizer.model'])
    cpSync(join(bundled, file), join(directory, file))
  cpSync(golden('policies/pi05_aloha/norm_stats.json'), join(directory, 'norm_stats.json'))
  writeJson(join(directory, 'policy.json'), {
    format: 'turbo-pi.policy/1',
    name: 'tiny-aloha',
    config: 'pi05_aloha',
    actionHorizon: 10,
    tokenizer: 'tokenizer.model',
    normStats: 'norm_stats.json',
  })
  return directory
}

export interface Answer {
  /** [horizon × actionSize], where there was no error. */
  actions?: Float64Array
  /** The error, whatever form the wire gives it. */
  error?: string
}

type Fields = Record<string, MsgpackValue>
const answered = (actions: MsgpackValue | undefined): Answer => ({ actions: numbersOf(actions as NdArray) })

/** A server of a policy directory, and its three wires; WS / takes no seed. */
export async function userServer(t: Test, directory: string) {
  const log: string[] = []
  const lines = { write: (line: string) => void log.push(line) }
  const { app, close } = await servePolicy(directory, {}, { logger: { level: 'warn', stream: lines } })
  t.teardown(close)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })

  const post = async (payload: Buffer): Promise<Answer> => {
    const headers = { 'content-type': 'application/msgpack' }
    const reply = await app.inject({ method: 'POST', url: '/infer', headers, payload })
    if (reply.statusCode !== 200) return { error: `${reply.statusCode} ${reply.body}` }
    return answered((decodeMsgpack(reply.rawPayload) as Fields)['actions'])
  }

  const root = async (payload: Buffer): Promise<Answer> => {
    const client = new TestSocket(url)
    await client.frame()
    const { options: _, ...observation } = decodeMsgpack(payload) as Fields
    client.send(encodeMsgpack(observation))
    const { frame, isBinary } = await client.frame()
    client.socket.close()
    return isBinary ? answered((decodeMsgpack(frame) as Fields)['actions']) : { error: frame.toString() }
  }

  const stream = async (payload: Buffer): Promise<Answer> => {
    const client = new TestSocket(`${url}/stream`, ['turbo-pi.v1+msgpack'])
    await client.frame()
    const { options, ...observation } = decodeMsgpack(payload) as Fields
    client.send(encodeMsgpack({ type: 'observation', seq: 1, observation, ...(options && { options }) }))
    const reply = decodeMsgpack((await client.frame()).frame) as Fields
    client.socket.close()
    return reply['type'] === 'actions' ? answered(reply['actions']) : { error: JSON.stringify(reply) }
  }

  return { app, url, log, post, root, stream }
}
