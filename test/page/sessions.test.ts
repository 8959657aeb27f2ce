import sharp from 'sharp'
import t from 'tap'
import { loadPolicy } from '../../src/policy/loading/load.js'
import { repositoryPath, servePolicy } from '../support/served-policy.js'
import { startServer, stopServers } from '../support/server.js'

t.teardown(stopServers)

t.test('sessions are watched only when asked for', async t => {
  const pixels = Buffer.from(Array.from({ length: 48 }, (_, at) => at))
  const raw = { data: pixels.toString('base64'), encoding: 'rgb8', width: 4, height: 4 }
  const jpeg = await sharp(pixels, { raw: { width: 4, height: 4, channels: 3 } })
    .jpeg()
    .toBuffer()
  const infer = (url: string, image: unknown) =>
    fetch(`${url}/infer`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ 'observation/image': image, 'observation/state': [3, 4], prompt: 'stack' }),
    })
  const off = await startServer({ runtime: { milliseconds: 1 } })
  t.equal((await infer(off.url, raw)).status, 200)
  t.same(await (await fetch(`${off.url}/page/sessions`)).json(), { watching: false, sessions: [] })

  const on = await startServer({ runtime: { milliseconds: 1 }, config: { watchSessions: true } })
  for (const [image, type] of [
    [raw, 'image/png'],
    [jpeg.toString('base64'), 'image/jpeg'],
  ] as const) {
    const answer = (await (await infer(on.url, image)).json()) as { actions: number[][] }
    const reply = await fetch(`${on.url}/page/sessions`)
    const { watching, sessions } = (await reply.json()) as {
      watching: boolean
      sessions: { session: string; actions: number[][] }[]
    }
    t.ok(watching)
    const seen = sessions[0]!
    t.match(seen, {
      prompt: 'stack',
      state: [
        { name: 'lift (m)', value: 3 },
        { name: 'observation/state[1]', value: 4 },
      ],
      cameras: [{ key: 'observation/image', slot: 'base_0_rgb' }],
    })
    t.same(seen.actions, answer.actions)
    const camera = `${on.url}/page/sessions/${encodeURIComponent(seen.session)}/observation%2Fimage`
    const response = await fetch(`${camera}/sent`)
    t.equal(response.headers.get('content-type'), type)
    const bytes = Buffer.from(await response.arrayBuffer())
    if (type === 'image/jpeg') t.same(bytes, jpeg, 'a file as it came')
    else t.same(await sharp(bytes).raw().toBuffer(), pixels, 'pixels exactly')
    t.equal((await fetch(`${camera}2/sent`)).status, 404)
  }
})

t.test('the camera check shows the very pixels that the network gets', async t => {
  const directory = repositoryPath('policies/tiny-libero')
  const server = await servePolicy(directory, { watchSessions: true })
  t.teardown(() => server.close())
  const url = await server.app.listen({ port: 0, host: '127.0.0.1' })
  const pixels = Buffer.from(Array.from({ length: 64 * 48 * 3 }, (_, at) => (at * 37) % 251))
  const jpeg = await sharp(pixels, { raw: { width: 64, height: 48, channels: 3 } })
    .jpeg()
    .toBuffer()
  const state = Array(8).fill(0)
  const sent = {
    'observation/image': jpeg.toString('base64'),
    'observation/wrist_image': jpeg.toString('base64'),
  }
  const reply = await fetch(`${url}/infer?robot=arm-1`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...sent, 'observation/state': state, prompt: 'stack' }),
  })
  t.equal(reply.status, 200)

  const policy = await loadPolicy(directory)
  t.teardown(() => policy.close())
  const image = { kind: 'encoded', bytes: jpeg } as const
  const { row } = await policy.prepare({
    images: { 'observation/image': image, 'observation/wrist_image': image },
    state: { 'observation/state': Float64Array.from(state) },
    prompt: 'stack',
  })
  const seen = await fetch(`${url}/page/sessions/arm-1/observation%2Fimage/seen`)
  t.equal(seen.headers.get('content-type'), 'image/png')
  const { data, info } = await sharp(Buffer.from(await seen.arrayBuffer()))
    .raw()
    .toBuffer({ resolveWithObject: true })
  const { imageSize } = policy.model.vision
  t.match(info, { width: imageSize, height: imageSize, channels: 3 })
  t.ok(data.equals(row.images[0]!))
  t.equal((await fetch(`${url}/page/sessions/arm-1/none/seen`)).status, 404)
  t.equal((await fetch(`${url}/page/sessions/arm-2/observation%2Fimage/seen`)).status, 404)
})
