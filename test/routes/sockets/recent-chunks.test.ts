import t from 'tap'
import { startServer, stopServers, TestSocket } from '../../support/server.js'

t.teardown(stopServers)

interface Message {
  type: string
  chunk_id: number
  actions: number[][]
  rtc?: { dropped: string | null; rows: number }
  error: { code: string; detail: string }
}

const image = { data: Buffer.alloc(48).toString('base64'), encoding: 'rgb8', width: 4, height: 4 }

t.test('a robot names the chunk that it executes', async t => {
  const server = await startServer({ runtime: { milliseconds: 1 } })
  const client = new TestSocket(`${server.url}/stream`, ['turbo-pi.v1+json'])
  t.match(await client.json(), { type: 'ready' })
  let seq = 0
  const observe = async (rtc?: object, prompt = 'do it') => {
    client.send({
      type: 'observation',
      seq: seq++,
      observation: { 'observation/image': image, 'observation/state': [seq, 0], prompt },
      options: { seed: 3, ...(rtc && { rtc: { inference_delay: 1, ...rtc } }) },
    })
    return client.json<Message>()
  }
  const first = await observe()
  t.equal(first.rtc, undefined)
  server.runtime.samplings.length = 0
  const second = await observe({ previous_chunk_id: first.chunk_id, consumed: 1 })
  t.match(second, { type: 'actions', rtc: { mode: 'guided', dropped: null, rows: 1, capped: true } })
  const [sampling] = server.runtime.samplings[0]!
  t.same([...sampling!.continuation!.previous], [...first.actions[1]!, 0], 'the row that is left, padded')

  t.match(
    await observe({ previous_chunk_id: second.chunk_id, consumed: 0 }, 'something else'),
    { type: 'actions', rtc: { dropped: 'prompt', rows: 0 } },
    'a chunk for another task is left out, and the answer says so',
  )
  t.match(await observe({ previous_chunk: [[1, 2]] }), { rtc: { dropped: null, rows: 1 } })
  t.match(await observe(), { chunk_id: 4 })
  t.match(await observe({ previous_chunk_id: 0, consumed: 0 }), {
    type: 'error',
    seq: 5,
    error: { code: 'OPTIONS_INVALID', detail: /one of the last 4 chunks .*, 1, 2, 3, 4; got 0/ },
  })
  client.send({ type: 'reset' })
  seq = 0
  t.match(await observe({ previous_chunk_id: 4, consumed: 0 }), {
    error: { code: 'OPTIONS_INVALID', detail: /since its reset, none so far; got 4/ },
  })
  t.match(await observe(), { type: 'actions' }, 'the connection stays usable')
  client.socket.close()
})

t.test('HTTP has no chunks to name', async t => {
  const { app } = await startServer({ runtime: { milliseconds: 1 } })
  const body = { 'observation/image': image, 'observation/state': [1, 0], prompt: 'do it' }
  const infer = (rtc: object) =>
    app.inject({ method: 'POST', url: '/infer', payload: { ...body, options: { rtc } } })
  const named = await infer({ previous_chunk_id: 0, consumed: 0, inference_delay: 0 })
  t.equal(named.statusCode, 422)
  t.match(named.json(), { code: 'OPTIONS_INVALID', errors: [{ pointer: '/options/rtc/previous_chunk_id' }] })
  const given = await infer({ previous_chunk: [[1, 2]], inference_delay: 0 })
  t.equal(given.statusCode, 200)
  t.match(given.json(), { rtc: { mode: 'guided', rows: 1, execution_horizon: 1, max_guidance_weight: 2 } })
})
