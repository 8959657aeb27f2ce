import t from 'tap'
import { decodeMsgpack, encodeMsgpack, NdArray } from '../../src/contract/msgpack.js'
import { RequestParser } from '../../src/contract/parse.js'
import { fakePolicy } from '../support/fake-policy.js'

const parser = new RequestParser(
  fakePolicy().spec,
  { horizon: 3, actionDim: 4, actionSize: 2 },
  { maxImages: 1 },
)
const rows = [
  [1, 2],
  [3, 4],
]
const parsed = (rtc: unknown) => parser.options({ rtc }, 'json').sampling.rtc

t.test('the previous chunk comes as rows or by its id, and what is left out stays open', async t => {
  t.strictSame(parsed({ previous_chunk: rows, inference_delay: 1 }), {
    mode: 'guided',
    previous: { rows: Float64Array.of(1, 2, 3, 4) },
    inferenceDelay: 1,
  })
  const all = {
    previous_chunk_id: 7,
    consumed: 4,
    inference_delay: 2,
    execution_horizon: 9,
    schedule: 'exp',
    max_guidance_weight: 2.5,
  }
  t.strictSame(parsed(all), {
    mode: 'guided',
    previous: { chunkId: 7, consumed: 4 },
    inferenceDelay: 2,
    executionHorizon: 9,
    schedule: 'exp',
    maxGuidanceWeight: 2.5,
  })
  t.equal(parsed({ mode: 'trained', previous_chunk: rows, inference_delay: 1 })?.mode, 'trained')
  t.strictSame(parsed({ previous_chunk: [], inference_delay: 0 })?.previous, { rows: new Float64Array(0) })
})

t.test('MessagePack means the same', async t => {
  const bytes = new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer)
  const message = { rtc: { previous_chunk: new NdArray('<f4', [2, 2], bytes), inference_delay: 1 } }
  const wire = decodeMsgpack(Buffer.from(encodeMsgpack(message)))
  t.strictSame(
    parser.options(wire, 'msgpack').sampling.rtc,
    parsed({ previous_chunk: rows, inference_delay: 1 }),
  )
  for (const shape of [[4], [4, 1], [1, 4], [1, 2, 2]])
    t.throws(
      () =>
        parser.options(
          { rtc: { previous_chunk: new NdArray('<f4', shape, bytes), inference_delay: 1 } },
          'msgpack',
        ),
      { code: 'OPTIONS_INVALID', fields: [{ pointer: '/options/rtc/previous_chunk' }] },
      `shape [${shape}]`,
    )
  const nan = new NdArray('<f4', [1, 2], new Uint8Array(Float32Array.of(1, Number.NaN).buffer))
  t.throws(() => parser.options({ rtc: { previous_chunk: nan, inference_delay: 1 } }, 'msgpack'), {
    message: /previous_chunk must be finite/,
  })
})

t.test('what does not fit is refused with its field', async t => {
  const base = { previous_chunk: rows, inference_delay: 1 }
  const mistakes: [object, RegExp][] = [
    [{ inference_delay: undefined }, /inference_delay/],
    [{ inference_delay: -1 }, /inference_delay/],
    [{ inference_delay: 1.5 }, /inference_delay/],
    [{ execution_horizon: -1 }, /execution_horizon/],
    [{ schedule: 'cosine' }, /schedule/],
    [{ max_guidance_weight: 0 }, /max_guidance_weight/],
    [{ mode: 'vjp' }, /mode/],
    [{ horizon: 3 }, /horizon/],
    [{ previous_chunk: [...rows, ...rows] }, /previous_chunk/],
    [{ previous_chunk: [[1, 2, 3]] }, /previous_chunk/],
    [{ previous_chunk: undefined }, /previous_chunk or previous_chunk_id must be given/],
    [{ previous_chunk_id: 1, consumed: 1 }, /must be given, and not both/],
    [{ previous_chunk: undefined, previous_chunk_id: 1 }, /consumed is required with previous_chunk_id/],
    [{ consumed: 1 }, /consumed belongs to previous_chunk_id/],
    [{ mode: 'trained', schedule: 'linear' }, /schedule belongs to mode guided/],
  ]
  for (const [change, message] of mistakes)
    t.throws(
      () => parsed(JSON.parse(JSON.stringify({ ...base, ...change }))),
      { code: 'OPTIONS_INVALID', message },
      JSON.stringify(change),
    )
})
