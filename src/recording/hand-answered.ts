import { type ObservationImage, payloadOf } from '../contract/observation.js'
import type { Answered } from '../service/events.js'
import { type AnsweredHead, bytesOf, type ImageForm, packed } from './handover.js'

/** In place of a picture that is left out. */
const NOTHING = new Uint8Array(0)

/** What the event loop does for one answered observation: a head of a kilobyte as JSON, everything else as bytes. */
export function packedAnswer(
  { session, robot, seq, at, observation, sampling, answer }: Answered,
  { series, id, offset, cameras }: { series: number; id: number; offset: number; cameras: boolean },
): Uint8Array[] {
  const { noise, continuation, steps } = sampling
  const blobs: Uint8Array[] = []
  const state = Object.keys(observation.state)
  for (const key of state) blobs.push(bytesOf(observation.state[key]!))
  const images: ImageForm[] = []
  for (const key of Object.keys(observation.images)) {
    const image = observation.images[key]!
    images.push({ key, ...formOf(image) })
    blobs.push(cameras ? payloadOf(image) : NOTHING)
  }
  const { actions, served, ...rest } = answer
  blobs.push(bytesOf(actions), bytesOf(served.actions))
  if (typeof noise !== 'number') blobs.push(bytesOf(noise))
  let continued: object | undefined
  if (continuation) {
    const { previous, ...how } = continuation
    blobs.push(bytesOf(previous))
    continued = how
  }
  const head: AnsweredHead = {
    kind: 'answered',
    id,
    at: at + offset,
    came: at - answer.timing.totalMs + offset,
    session,
    robot,
    seq,
    prompt: observation.prompt,
    state,
    images,
    answer: rest,
    steps,
    noise: typeof noise !== 'number',
    continuation: continued,
  }
  return packed(series, head, blobs)
}

function formOf(image: ObservationImage): Pick<ImageForm, 'array'> {
  if (image.kind === 'encoded') return {}
  if (image.kind === 'array') return { array: { shape: image.shape, dtype: '|u1' } }
  const { shape, dtype } = image.array
  return { array: { shape, dtype } }
}
