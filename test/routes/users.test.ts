import t from 'tap'
import { decodeMsgpack, encodeMsgpack, type MsgpackValue } from '../../src/contract/msgpack.js'
import { bundled, lerobotCheckpoint } from '../support/checkpoint.js'
import { TestSocket } from '../support/server.js'
import { alohaPolicy, userBody, userServer } from '../support/users.js'

t.test('bodies of openpi’s users', async t => {
  const { app, url, log, post, root, stream } = await userServer(t, bundled)
  const { actions } = await post(userBody('libero_ok'))
  const begins = (expected: readonly number[]) =>
    expected.every((x, i) => Math.abs(x - (actions?.[i] as number)) < 1e-3)
  t.ok(begins([-5.5767, 0.9966, 1.699]))

  t.same((await post(userBody('libero_pypi_msgpack_numpy'))).actions, actions, 'arrays of msgpack-numpy')
  t.ok((await root(userBody('libero_pypi_msgpack_numpy'))).actions)

  const halves = await post(userBody('libero_image_float16'))
  const pixels = await post(userBody('libero_image_float16_as_numpy_uint8'))
  t.ok(halves.actions)
  t.same(halves.actions, pixels.actions, 'float16 as NumPy makes pixels of it')
  t.equal((await post(userBody('libero_image_float32_overshoot_1e-7'))).error, undefined)

  for (const [body, pointer] of [
    ['libero_prompt_none', '/prompt'],
    ['libero_prompt_list', '/prompt'],
    ['libero_image_none', '/observation~1wrist_image'],
    ['libero_image_dict', '/observation~1wrist_image'],
    ['libero_image_nested_list', '/observation~1wrist_image'],
  ] as const) {
    for (const wire of [post, root, stream]) {
      const { error = '' } = await wire(userBody(body))
      t.match(error, 'OBSERVATION_INVALID', `${body} over ${wire.name}`)
      t.match(error, `${pointer} `, `${body} over ${wire.name}`)
    }
  }

  t.match((await post(userBody('libero_extra_keys_robolab'))).error, /^422 .*\/env_id/, 'POST is strict')
  t.match((await stream(userBody('libero_extra_keys_robolab'))).error, /\/env_id/, 'and so is /stream')
  const robolab = new TestSocket(url)
  await robolab.frame()
  const { options: _, ...extra } = decodeMsgpack(userBody('libero_extra_keys_robolab')) as Record<
    string,
    MsgpackValue
  >
  for (const time of ['first', 'second']) {
    robolab.send(encodeMsgpack(extra))
    t.ok((await robolab.frame()).isBinary, `openpi’s protocol passes them over, the ${time} time`)
  }
  robolab.socket.close()
  t.match(log, [/"keys":\["env_id","reset"\]/], 'and says so once')
  t.equal(log.length, 1)

  const lost = await app.inject({
    url: '/policy',
    headers: { connection: 'upgrade', upgrade: 'websocket' },
  })
  t.equal(lost.statusCode, 404)
  t.match(lost.json().detail, "openpi's WebSocket protocol stands at / and at /policies/NAME/")
  const client = new TestSocket(`${url}/policy`)
  t.equal(await client.opened(), 404)
})

t.test('None in an optional camera means that it is missing', async t => {
  const { app, post } = await userServer(t, alohaPolicy(t))
  const body = decodeMsgpack(userBody('aloha_camera_none')) as Record<string, Record<string, MsgpackValue>>
  const { cam_left_wrist: none, ...images } = body['images']!
  t.equal(none, null)
  const without = await post(Buffer.from(encodeMsgpack({ ...body, images })))
  t.ok(without.actions)
  t.same((await post(userBody('aloha_camera_none'))).actions, without.actions)

  const pixels = { data: Buffer.alloc(12).toString('base64'), encoding: 'rgb8', width: 2, height: 2 }
  const json = (images: object) =>
    app.inject({
      method: 'POST',
      url: '/infer',
      payload: { images, state: Array(14).fill(0), prompt: 'x', options: { seed: 1 } },
    })
  const whole = await json({ cam_high: pixels })
  t.equal(whole.statusCode, 200)
  t.same((await json({ cam_high: pixels, cam_low: null })).json().actions, whole.json().actions)
  t.equal((await json({ cam_high: null })).statusCode, 422, 'a camera that the policy needs is not')
})

t.test('LeRobot’s batches: flat keys, a list of one task, prompt', async t => {
  const { post, root, stream } = await userServer(t, lerobotCheckpoint(t))
  const nested = await post(userBody('lerobot_nested_keys'))
  t.ok(nested.actions)
  for (const wire of [post, stream])
    t.same((await wire(userBody('lerobot_flat_keys'))).actions, nested.actions)
  t.ok((await root(userBody('lerobot_flat_keys'))).actions)

  const fields = decodeMsgpack(userBody('lerobot_task_list')) as Record<string, MsgpackValue>
  const { task, ...rest } = fields
  t.same(task, ['pick'])
  const send = (more: Record<string, MsgpackValue>) => post(Buffer.from(encodeMsgpack({ ...rest, ...more })))
  const pick = await send({ task: 'pick' })
  t.ok(pick.actions)
  for (const wire of [post, stream])
    t.same((await wire(userBody('lerobot_task_list'))).actions, pick.actions, 'a list of one')
  t.same((await send({ prompt: 'pick' })).actions, pick.actions, 'prompt')
  t.same((await send({ prompt: 'pick', task: 'pick' })).actions, pick.actions)
  t.match((await send({ prompt: 'place', task: 'pick' })).error, /^422 .*\/prompt says something else/)
  t.match((await send({ task: ['pick', 'place'] })).error, /^422 .*\/task must be text/)
  t.match(
    (await send({ task: 'pick', 'observation.state': 0 })).error,
    /^422 .*\/observation\/state is given twice/,
  )
})

t.test('/stream carries over each camera of a nested observation', async t => {
  const { url } = await userServer(t, lerobotCheckpoint(t))
  const client = new TestSocket(`${url}/stream`, ['turbo-pi.v1+msgpack'])
  await client.frame()
  const { options, ...fields } = decodeMsgpack(userBody('lerobot_flat_keys')) as Record<string, MsgpackValue>
  const observe = async (seq: number, observation: MsgpackValue) => {
    client.send(encodeMsgpack({ type: 'observation', seq, observation, options: options! }))
    return decodeMsgpack((await client.frame()).frame) as Record<string, MsgpackValue>
  }
  const whole = await observe(1, fields)
  t.equal(whole['type'], 'actions')
  const image = fields['observation.images.image']!
  const again = await observe(2, { 'observation.images.image': image })
  t.same(again['actions'], whole['actions'], 'the other camera is not masked')
  client.socket.close()
})
