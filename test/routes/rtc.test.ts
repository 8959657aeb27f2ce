import t from 'tap'
import { loadPolicy } from '../../src/policy/loading/load.js'
import { syntheticObservation } from '../../src/service/self-test.js'
import { repositoryPath, servePolicy } from '../support/served-policy.js'
import { TestSocket } from '../support/server.js'

interface Answer {
  actions: number[][]
  rtc: { rows: number; capped: boolean } | null
}

const CONSUMED = 4
const DELAY = 2

t.test('a real policy continues its chunk, whether the chunk is sent or named', async t => {
  const directory = repositoryPath('policies/tiny-libero')
  const served = await servePolicy(directory)
  t.teardown(() => served.close())
  const policy = await loadPolicy(directory)
  t.teardown(() => policy.close())
  const { state } = syntheticObservation(policy)
  const side = 16
  const image = { data: Buffer.alloc(side * side * 3, 90).toString('base64'), encoding: 'rgb8' }
  const observation = {
    ...Object.fromEntries(
      policy.spec.cameras.map(({ key }) => [key, { ...image, width: side, height: side }]),
    ),
    ...Object.fromEntries(Object.entries(state).map(([key, values]) => [key, [...values]])),
    prompt: 'pick up the bowl',
  }
  const infer = async (options: object) => {
    const response = await served.app.inject({
      method: 'POST',
      url: '/infer',
      payload: { ...observation, options },
    })
    t.equal(response.statusCode, 200)
    return response.json<Answer>()
  }
  const farthest = (a: number[][], b: number[][]) =>
    Math.max(...a.flatMap((row, i) => row.map((value, j) => Math.abs(value - b[i]![j]!))))

  const first = await infer({ seed: 1 })
  const left = first.actions.slice(CONSUMED)
  const plain = await infer({ seed: 2 })
  const sent = await infer({ seed: 2, rtc: { previous_chunk: left, inference_delay: DELAY } })
  t.match(sent.rtc, { rows: left.length, capped: false })
  const held = left.slice(0, DELAY)
  t.ok(
    farthest(held, sent.actions) < farthest(held, plain.actions) / 10,
    'the rows until the new chunk arrives are held',
  )
  t.ok(
    farthest(sent.actions.slice(left.length), plain.actions.slice(left.length)) > 0,
    'and all the rest follows',
  )

  const url = await served.app.listen({ port: 0, host: '127.0.0.1' })
  const robot = new TestSocket(`${url}/stream`, ['turbo-pi.v1+json'])
  t.match(await robot.json(), { type: 'ready' })
  robot.send({ type: 'observation', seq: 0, observation, options: { seed: 1 } })
  const again = await robot.json<Answer & { chunk_id: number }>()
  t.same(again.actions, first.actions)
  const rtc = { previous_chunk_id: again.chunk_id, consumed: CONSUMED, inference_delay: DELAY }
  robot.send({ type: 'observation', seq: 1, observation: {}, options: { seed: 2, rtc } })
  const named = await robot.json<Answer>()
  t.ok(farthest(named.actions, sent.actions) < 1e-5, 'the same as with the rows sent back')
  robot.socket.close()
})
