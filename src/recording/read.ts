import { createReadStream } from 'node:fs'
import { McapStreamReader, type McapTypes } from '@mcap/core'
import type { BatchPlace } from '../contract/answer.js'
import type { ObservationImage } from '../contract/observation.js'
import { reasonOf, TurboPiError } from '../errors.js'
import type { Continuation } from '../families/pi0/rtc/continuation.js'
import { decodeImage } from './foxglove.js'
import type { Recorded, RecordedObservation } from './recorded.js'

type Json = Record<string, unknown>

interface Message {
  topic: string
  schema: string
  id: number
  time: bigint
  data: Uint8Array
}

/**
 * What a recording tells, in order; a file that was cut anywhere is read up to its last whole chunk. Throws RECORDING_INVALID
 * for what is no recording of this program.
 */
export async function* readRecording(file: string): AsyncGenerator<Recorded> {
  const parts = new Map<number, Message[]>()
  for await (const message of messages(file)) {
    if ('kind' in message) {
      yield message
      continue
    }
    const { topic, schema, id } = message
    if (topic === '/policy') yield { kind: 'policy', note: json(message) as never }
    else if (topic === '/recorder/dropped')
      yield { kind: 'dropped', ...(json(message) as { records: number; reason: string }) }
    else if (id === 0) yield told(message)
    else if (schema === 'turbo_pi.Chunk') {
      yield observation(message, parts.get(id) ?? [])
      parts.delete(id)
    } else parts.set(id, [...(parts.get(id) ?? []), message])
  }
}

async function* messages(file: string): AsyncGenerator<Message | Extract<Recorded, { kind: 'cut' }>> {
  const reader = new McapStreamReader()
  const schemas = new Map<number, string>()
  const channels = new Map<number, McapTypes.TypedMcapRecords['Channel']>()
  let bytes = 0
  let reason = 'it has no end'
  const stream = createReadStream(file, { highWaterMark: 2 ** 20 })
  try {
    for await (const piece of stream as AsyncIterable<Buffer>) {
      bytes += piece.length
      reader.append(piece)
      for (let record = reader.nextRecord(); record; record = reader.nextRecord()) {
        if (record.type === 'Schema') schemas.set(record.id, record.name)
        else if (record.type === 'Channel') channels.set(record.id, record)
        else if (record.type === 'Message') {
          const { topic, schemaId } = channels.get(record.channelId)!
          const { sequence: id, logTime: time } = record
          yield { topic, schema: schemas.get(schemaId) ?? '', id, time, data: record.data.slice() }
        }
      }
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== undefined) throw unreadable(file, reasonOf(error))
    if (channels.size === 0) throw unreadable(file, reasonOf(error))
    reason = reasonOf(error)
  }
  if (!reader.done()) yield { kind: 'cut', bytes, reason }
}

const unreadable = (file: string, why: string) =>
  new TurboPiError(
    'RECORDING_INVALID',
    `${file} cannot be read: ${why}. Name an .mcap file that serve --record has written.`,
  )

const json = ({ data }: Message) => JSON.parse(Buffer.from(data).toString()) as Json

const robotOf = (topic: string) => (topic.startsWith('/robots/') ? topic.split('/')[2]! : null)

function told(message: Message): Recorded {
  const { session, kind: mark, ...content } = json(message) as Json & { session: string }
  const whose = { robot: robotOf(message.topic), session, time: message.time }
  const kind = message.topic.slice(message.topic.lastIndexOf('/') + 1)
  return { ...whose, kind, ...content, ...(mark !== undefined && { mark }) } as Recorded
}

function observation(chunk: Message, parts: readonly Message[]): RecordedObservation {
  const content = json(chunk)
  const images: Record<string, ObservationImage> = {}
  const lossy: string[] = []
  let state: Json = {}
  let forms: Record<string, 'file' | 'array'> = {}
  let prompt: string | undefined
  let time = chunk.time
  for (const part of parts) {
    if (part.schema === 'turbo_pi.State') {
      const seen = json(part)
      state = seen['state'] as Json
      forms = seen['images'] as typeof forms
      time = part.time
    } else if (part.schema === 'turbo_pi.Prompt') prompt = json(part)['prompt'] as string
    else images[part.topic.slice(part.topic.indexOf('/camera/') + '/camera/'.length)] = imageOf(part)
  }
  for (const [key, form] of Object.entries(forms))
    if (form === 'array' && images[key]?.kind === 'encoded') lossy.push(key)
  const { noise, seed, continuation } = content as { noise?: string; seed: number; continuation?: Json }
  return {
    kind: 'observation',
    robot: robotOf(chunk.topic),
    session: content['session'] as string,
    time,
    id: chunk.id,
    seq: content['seq'] as number | undefined,
    observation: {
      images,
      state: Object.fromEntries(
        Object.entries(state).map(([key, numbers]) => [key, Float64Array.from(numbers as number[])]),
      ),
      ...(prompt !== undefined && { prompt }),
    },
    leftOut: Object.keys(forms).filter(key => !images[key]),
    lossy,
    actions: content['actions'] as number[][],
    network: floats(content['network_actions'] as string),
    steps: content['num_steps'] as number,
    noise: noise === undefined ? seed : floats(noise),
    continuation:
      continuation &&
      ({ ...continuation, previous: floats(continuation['previous'] as string) } as unknown as Continuation),
    place: content['place'] as BatchPlace,
    guard: content['guard'] as { clamped: boolean },
    model: content['model'] as string,
  }
}

function imageOf({ schema, data }: Message): ObservationImage {
  const image = decodeImage(schema, data)
  if (image.format !== 'rgb8') return { kind: 'encoded', bytes: image.data }
  return { kind: 'array', dtype: 'uint8', shape: [image.height, image.width, 3], data: image.data }
}

const floats = (text: string) => new Float32Array(new Uint8Array(Buffer.from(text, 'base64')).buffer)
