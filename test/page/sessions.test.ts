import sharp from 'sharp'
import t from 'tap'
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
    t.match(seen, { prompt: 'stack', state: { 'observation/state': [3, 4] }, cameras: ['observation/image'] })
    t.same(seen.actions, answer.actions)
    const camera = `${on.url}/page/sessions/${encodeURIComponent(seen.session)}/observation%2Fimage`
    const response = await fetch(camera)
    t.equal(response.headers.get('content-type'), type)
    const bytes = Buffer.from(await response.arrayBuffer())
    if (type === 'image/jpeg') t.same(bytes, jpeg, 'a file as it came')
    else t.same(await sharp(bytes).raw().toBuffer(), pixels, 'pixels exactly')
    t.equal((await fetch(`${camera}2`)).status, 404)
  }
})
