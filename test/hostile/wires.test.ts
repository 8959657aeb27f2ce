import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { decodeJson } from '../../src/contract/json.js'
import { decodeMsgpack, encodeMsgpack, type MsgpackValue, NdArray } from '../../src/contract/msgpack.js'
import { RequestParser } from '../../src/contract/parse.js'
import { servePolicy } from '../support/served-policy.js'
import { startServer, stopServers } from '../support/server.js'

t.teardown(stopServers)
const camera = { key: 'image', required: true, slot: 'a', layout: 'hwc' as const, description: '' }
const spec = {
  embodiment: 'test',
  cameras: [camera],
  state: [{ key: 'state', size: 2, description: '' }],
  prompt: { key: 'prompt', required: true },
}
const parser = new RequestParser(spec, { horizon: 1, actionDim: 2, actionSize: 2 }, { maxImages: 1 })
const picture = Buffer.from(Uint8Array.from({ length: 90 }, (_, i) => (i * 37) % 251))
const whole = { image: new Uint8Array(picture), state: [1, 2], prompt: 'x' }
const json = (fields: object) => ({ ...whole, image: picture.toString('base64'), ...fields })

/** The prompt that a message says, or the code of its refusal. */
function promptOf(read: () => { observation: { prompt?: string } }): string | undefined {
  try {
    return read().observation.prompt
  } catch (error) {
    return (error as { code: string }).code
  }
}
const fromJson = (bytes: Buffer) => promptOf(() => parser.request(decodeJson(bytes), 'json'))
const fromMsgpack = (prompt: MsgpackValue) =>
  promptOf(() => parser.request(decodeMsgpack(encodeMsgpack({ ...whole, prompt })), 'msgpack'))
const ucs4 = (text: string, width = text.length) => {
  const points = new Uint32Array(width)
  points.set(Array.from(text, letter => letter.codePointAt(0)!))
  return new NdArray(`<U${width}`, [], new Uint8Array(points.buffer))
}
const utf8 = (text: string) => new Uint8Array(Buffer.from(text))

t.test('a text is the same over every wire', async t => {
  for (const text of ['pick up', 'a\0b', '\ufeffpick', 'é世😀', '']) {
    const bytes = utf8(text)
    t.equal(fromJson(Buffer.from(JSON.stringify(json({ prompt: text })))), text, JSON.stringify(text))
    t.equal(fromMsgpack(text), text)
    t.equal(fromMsgpack(bytes), text)
    if (bytes.length > 0) t.equal(fromMsgpack(new NdArray(`|S${bytes.length}`, [], bytes)), text)
    if (text) t.equal(fromMsgpack(ucs4(text, [...text].length)), text)
  }
  t.equal(fromMsgpack(ucs4('pick', 9)), 'pick', 'what NumPy fills up with is no text')
  t.equal(fromMsgpack(new NdArray('|S6', [], utf8('pick\0\0'))), 'pick')
})

t.test('what is no Unicode is refused by all of them', async t => {
  const raw = Buffer.from(JSON.stringify(json({ prompt: 'xXx' })))
  raw.fill(0xff, raw.indexOf('xXx'), raw.indexOf('xXx') + 3)
  t.equal(fromJson(raw), 'BODY_MALFORMED')
  const bad = Uint8Array.of(0xff, 0xfe)
  t.equal(fromMsgpack(bad), 'OBSERVATION_INVALID')
  t.equal(fromMsgpack(new NdArray('|S2', [], bad)), 'OBSERVATION_INVALID')
  t.equal(fromMsgpack(ucs4('\ud800')), 'OBSERVATION_INVALID')
  t.equal(fromJson(Buffer.from(JSON.stringify(json({ prompt: '\ud800' })))), 'OBSERVATION_INVALID')
  const str = Buffer.from(encodeMsgpack({ ...whole, prompt: 'ZZ' }))
  str.set(bad, str.indexOf('ZZ'))
  t.throws(() => decodeMsgpack(str), { code: 'BODY_MALFORMED' })
})

t.test('a key twice and a byte order mark in front mean the same on both', async t => {
  const text = JSON.stringify(json({}))
  t.equal(fromJson(Buffer.from(text.replace('"prompt"', '"prompt":"y","prompt"'))), 'BODY_MALFORMED')
  t.equal(fromJson(Buffer.from(text.replace('"prompt"', '"pr\\u006fmpt":"y","prompt"'))), 'BODY_MALFORMED')
  t.equal(fromJson(Buffer.from(`\ufeff${text}`)), 'x')
  t.equal(
    fromJson(Buffer.from(text.replace('"x"', '"{\\"a\\":[1,2"'))),
    '{"a":[1,2',
    'structure within a text is none',
  )
  t.equal(fromJson(Buffer.from(text.replace('{', '{"__proto__":{"prompt":"z"},'))), 'OBSERVATION_INVALID')
})

t.test('base64 has its own letters alone', async t => {
  const good = picture.toString('base64')
  const at = good.indexOf('A')
  const read = (image: string) => {
    try {
      const { images } = parser.request(json({ image }), 'json').observation
      return Buffer.compare((images['image'] as { bytes: Uint8Array }).bytes, picture)
    } catch (error) {
      return (error as { code: string }).code
    }
  }
  for (const form of [
    good,
    good.replace(/=+$/, ''),
    picture.toString('base64url'),
    good.replace(/(.{20})/g, '$1\r\n'),
  ])
    t.equal(read(form), 0)
  for (const letter of ['\u0141', '\uff41', '\u00c1', ' ', '*'])
    t.equal(read(`${good.slice(0, at)}${letter}${good.slice(at + 1)}`), 'IMAGE_INVALID', letter)
})

t.test('content types are parsed, and every error is a problem document', async t => {
  const { url } = await startServer({ runtime: { milliseconds: 1 } })
  const post = (type: string, path = '/infer', body = '{}') =>
    fetch(`${url}${path}`, { method: 'POST', headers: { 'content-type': type }, body })
  const code = async (response: Response) => {
    t.match(response.headers.get('content-type'), 'application/problem+json')
    return ((await response.json()) as { code: string }).code
  }
  for (const type of ['application/json', 'application/json; a=msgpack', 'Application/JSON;charset=msgpack'])
    t.equal(await code(await post(type)), 'OBSERVATION_INVALID', type)
  for (const type of ['text/plain; application/json', 'application/json, application/msgpack', 'x'])
    t.equal(await code(await post(type)), 'CONTENT_TYPE_UNSUPPORTED', type)
  t.equal(await code(await fetch(`${url}/%ZZ`)), 'NOT_FOUND')
  t.equal(await code(await post('application/json', '/nowhere')), 'NOT_FOUND')
  const { port } = new URL(url)
  const socket = connect(Number(port), '127.0.0.1')
  socket.end('GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n')
  t.match(String(await once(socket, 'data')), /application\/problem\+json/, 'without a Host')
  t.equal(
    await code(await fetch(`${url}/healthz`, { headers: { x: 'y'.repeat(20_000) } })),
    'HEADERS_TOO_LARGE',
  )
})

t.test('numbers that overflow within the network, and maps in the place of arrays, are refused', async t => {
  const { app, close } = await servePolicy()
  t.teardown(close)
  const image = new NdArray('|u1', [224, 224, 3], new Uint8Array(150_528).fill(99))
  const good = {
    'observation/image': image,
    'observation/wrist_image': image,
    'observation/state': Array(8).fill(0),
    prompt: 'x',
  }
  const post = async (fields: object) => {
    const payload = Buffer.from(encodeMsgpack({ ...good, ...fields } as MsgpackValue))
    const response = await app.inject({
      method: 'POST',
      url: '/infer',
      headers: { 'content-type': 'application/msgpack' },
      payload,
    })
    return response.statusCode === 200 ? 'actions' : (response.json() as { code: string }).code
  }
  const noise = (value: number) => ({
    options: { num_steps: 1, noise: Array(10).fill(Array(32).fill(value)) },
  })
  t.equal(await post(noise(9000)), 'actions')
  t.equal(await post(noise(3e38)), 'OPTIONS_INVALID')
  t.equal(await post({ 'observation/state': Array(8).fill(1e300) }), 'OBSERVATION_INVALID')
  const rtc = { mode: 'guided', previous_chunk: [Array(7).fill(1e300)], inference_delay: 1 }
  t.equal(await post({ options: { rtc } }), 'OPTIONS_INVALID')
  const map = { dtype: '<f8', shape: [8], data: new Uint8Array(64) }
  t.equal(await post({ 'observation/state': map }), 'OBSERVATION_INVALID')
  t.equal(await post({ options: { noise: map } }), 'OPTIONS_INVALID')
  t.equal(
    await post({ options: { noise: new NdArray('<U8', [10, 32], new Uint8Array(10_240)) } }),
    'OPTIONS_INVALID',
  )
})
