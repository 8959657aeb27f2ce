import { type InferenceAnswer, jsonReply } from '../contract/answer.js'
import { topicOf } from './channels.js'
import { encodeImage } from './foxglove.js'
import { type AnsweredHead, float64, type Handed } from './handover.js'
import type { CameraEncoder } from './pictures.js'

/** One message of a file. */
export interface FileMessage {
  topic: string
  /** In the table of schemas. */
  schema: string
  /** Unix nanoseconds. */
  time: bigint
  /** The observation that it belongs to; 0 for none. */
  id: number
  data: Uint8Array
}

const nanoseconds = (milliseconds: number) => BigInt(Math.round(milliseconds * 1e3)) * 1000n

const base64 = ({ buffer, byteOffset, byteLength }: Uint8Array) =>
  Buffer.from(buffer, byteOffset, byteLength).toString('base64')

/** The messages that a record of the ring stands for; pictures are encoded as `encoder` does. */
export async function messagesOf(
  head: Handed,
  blobs: readonly Uint8Array[],
  encoder: CameraEncoder,
): Promise<FileMessage[]> {
  if (head.kind === 'answered') return answered(head, blobs, encoder)
  if (head.kind === 'dropped') return [dropped({ at: head.at, records: head.records, reason: 'queue' })]
  const { at, session, robot } = head
  const one = (channel: string, content: object, when = at): FileMessage => ({
    topic: topicOf(robot, channel),
    schema: channel,
    time: nanoseconds(when),
    id: 0,
    data: Buffer.from(JSON.stringify({ session, ...content })),
  })
  switch (head.kind) {
    case 'failed':
      return [one('error', { seq: head.seq, code: head.code, detail: head.detail })]
    case 'superseded':
      return [one('skipped', {})]
    case 'startedOver':
      return [one('reset', {})]
    case 'reported':
      return [
        ...head.executed.map(({ at: when, ...executed }) => one('executed', executed, when)),
        ...head.marks.map(({ at: when, ...mark }) => one('mark', mark, when)),
      ]
  }
}

/** What says that records are missing. */
export function dropped(note: { at: number; records: number; reason: 'queue' | 'disk' }): FileMessage {
  const { at, ...content } = note
  return {
    topic: '/recorder/dropped',
    schema: 'dropped',
    time: nanoseconds(at),
    id: 0,
    data: Buffer.from(JSON.stringify(content)),
  }
}

async function answered(
  head: AnsweredHead,
  blobs: readonly Uint8Array[],
  encoder: CameraEncoder,
): Promise<FileMessage[]> {
  const { id, session, robot, seq, prompt } = head
  const left = [...blobs]
  const state = head.state.map(key => [key, Array.from(float64(left.shift()!))])
  const came = nanoseconds(head.came)
  const cameras = await Promise.all(
    head.images.map(async (form): Promise<FileMessage[]> => {
      const image = await encoder.encode(form, left.shift()!)
      if (!image) return []
      const topic = topicOf(robot, `camera/${form.key}`)
      const schema = image.format === 'rgb8' ? 'raw' : 'compressed'
      return [{ topic, schema, time: came, id, data: encodeImage(image, form.key, came) }]
    }),
  )
  const actions = float64(left.shift()!)
  const network = left.shift()!
  const noise = head.noise ? left.shift()! : undefined
  const previous = head.continuation ? left.shift()! : undefined
  const one = (channel: string, time: bigint, content: object): FileMessage => ({
    topic: topicOf(robot, channel),
    schema: channel,
    time,
    id,
    data: Buffer.from(JSON.stringify({ session, ...content })),
  })
  const images = Object.fromEntries(head.images.map(({ key, array }) => [key, array ? 'array' : 'file']))
  return [
    ...cameras.flat(),
    one('state', came, { seq, state: Object.fromEntries(state), images }),
    ...(prompt === undefined ? [] : [one('prompt', came, { prompt })]),
    one('chunk', nanoseconds(head.at), {
      seq,
      ...jsonReply({ ...head.answer, actions } as InferenceAnswer),
      late: head.answer.late,
      num_steps: head.steps,
      place: head.answer.place,
      ...(noise && { noise: base64(noise) }),
      ...(previous && { continuation: { ...head.continuation, previous: base64(previous) } }),
      network_actions: base64(network),
    }),
  ]
}
