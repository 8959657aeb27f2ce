import { readFile } from 'node:fs/promises'
import { gzipSync } from 'node:zlib'
import sharp from 'sharp'
import t from 'tap'
import { decodeMsgpack, encodeMsgpack, NdArray } from '../../src/contract/msgpack.js'
import { numbersOf } from '../../src/contract/ndarray.js'
import { Safetensors } from '../../src/storage/safetensors.js'
import { repositoryPath, servePolicy } from '../support/served-policy.js'

const { app, service, close } = await servePolicy()
t.teardown(close)

const example = (name: string) => readFile(repositoryPath(`examples/${name}`))
const golden = (name: string) => readFile(repositoryPath(`test/golden/policies/pi05_libero/${name}`))

const good = {
  'observation/image': (await example('image.jpg')).toString('base64'),
  'observation/wrist_image': (await example('wrist_image.jpg')).toString('base64'),
  'observation/state': JSON.parse((await example('state.json')).toString()) as number[],
  prompt: 'pick up the black bowl',
}

const post = async (body: unknown, type = 'application/json') => {
  const response = await app.inject({
    method: 'POST',
    url: '/infer',
    headers: { 'content-type': type },
    payload: typeof body === 'string' || body instanceof Buffer ? body : JSON.stringify(body),
  })
  return { response, status: response.statusCode, body: type.includes('json') ? response.json() : undefined }
}

t.test('an observation gets an action chunk', async t => {
  const { status, body } = await post(good)
  t.equal(status, 200)
  t.equal(body.actions.length, 10)
  t.ok(body.actions.every((row: number[]) => row.length === 7 && row.every(Number.isFinite)))
  t.match(body, { coalesced: false, truncated: false, model: service.metadata().model })
  t.ok(Number.isInteger(body.seed))
})

t.test('the seed of an answer repeats it bit for bit', async t => {
  const first = (await post(good)).body
  const again = (await post({ ...good, options: { seed: first.seed } })).body
  t.strictSame(again.actions, first.actions)
  const other = (await post({ ...good, options: { seed: (first.seed + 1) % 2 ** 32 } })).body
  t.notSame(other.actions, first.actions)
})

t.test('images may come as data: URLs, PNG, WebP and raw pixels', async t => {
  const pixels = await sharp(Buffer.from(good['observation/image'], 'base64')).raw().toBuffer()
  const raw = { raw: { width: 224, height: 224, channels: 3 as const } }
  const forms = {
    'data: URL': `data:image/jpeg;base64,${good['observation/image']}`,
    'base64 with line breaks': good['observation/image'].replace(/.{76}/g, '$&\r\n'),
    PNG: (await sharp(pixels, raw).png().toBuffer()).toString('base64'),
    WebP: (await sharp(pixels, raw).webp({ lossless: true }).toBuffer()).toString('base64'),
    raw: { data: pixels.toString('base64'), encoding: 'rgb8', width: 224, height: 224 },
  }
  const options = { seed: 1 }
  const expected = (await post({ ...good, options })).body.actions
  for (const [form, image] of Object.entries(forms))
    t.strictSame((await post({ ...good, 'observation/image': image, options })).body.actions, expected, form)
})

t.test('a compressed body is refused by name', async t => {
  const response = await app.inject({
    method: 'POST',
    url: '/infer',
    headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
    payload: gzipSync(JSON.stringify(good)),
  })
  t.equal(response.statusCode, 415)
  t.match(response.json(), { code: 'CONTENT_TYPE_UNSUPPORTED', detail: /content-encoding: gzip/ })
})

t.test('client bytes and given noise reproduce the reference, on both wires', async t => {
  const expected = Safetensors.open(repositoryPath('test/golden/policies/pi05_libero/expected.safetensors'))
  const noise = Array.from(expected.float32('noise'))
  const stored = expected.bytes('out.actions')
  const actions = new Float64Array(
    stored.buffer.slice(stored.byteOffset, stored.byteOffset + stored.byteLength),
  )
  expected.close()
  const farthest = (got: ArrayLike<number>) =>
    Math.max(...Array.from(actions, (x, i) => Math.abs(x - got[i]!)))
  const observation = decodeMsgpack(await golden('obs.msgpack')) as Record<string, NdArray>

  const packed = encodeMsgpack({
    ...observation,
    options: { noise: new NdArray('<f4', [10, 32], new Uint8Array(Float32Array.from(noise).buffer)) },
  })
  const { response } = await post(Buffer.from(packed), 'application/msgpack')
  const reply = decodeMsgpack(response.rawPayload) as Record<string, NdArray>
  t.equal(response.headers['content-type'], 'application/msgpack')
  t.equal(reply['actions']?.dtype, '<f8')
  t.ok(farthest(numbersOf(reply['actions'] as NdArray)) <= 5e-5, 'msgpack')

  const image = (key: string) => ({
    data: Buffer.from(observation[key]!.data).toString('base64'),
    encoding: 'rgb8',
    width: 224,
    height: 224,
  })
  const { body } = await post({
    'observation/image': image('observation/image'),
    'observation/wrist_image': image('observation/wrist_image'),
    'observation/state': Array.from(numbersOf(observation['observation/state'] as NdArray)),
    prompt: observation['prompt'],
    options: { noise: Array.from({ length: 10 }, (_, row) => noise.slice(row * 32, row * 32 + 32)) },
  })
  t.ok(farthest(body.actions.flat()) <= 5e-5, 'JSON')
  t.equal(body.seed, null)
})

t.test('an empty prompt is allowed', async t => {
  t.equal((await post({ ...good, prompt: '' })).status, 200)
})

t.test('bad input gets a problem document that names the field, and harms nobody', async t => {
  const header = await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
    .png()
    .toBuffer()
  const huge = Buffer.from(header)
  huge.writeUInt32BE(30000, 16)
  huge.writeUInt32BE(30000, 20)
  const { 'observation/wrist_image': _, ...withoutWrist } = good
  const truncated = Buffer.from(good['observation/image'], 'base64').subarray(0, 2000).toString('base64')
  const state = good['observation/state']
  const nan = new NdArray('<f8', [8], new Uint8Array(new Float64Array(8).fill(Number.NaN).buffer))
  const packed = (changes: object) =>
    Buffer.from(
      encodeMsgpack({
        'observation/image': Buffer.from(good['observation/image'], 'base64'),
        'observation/wrist_image': Buffer.from(good['observation/wrist_image'], 'base64'),
        'observation/state': state,
        prompt: '',
        ...changes,
      }),
    )
  const json = 'application/json'
  const msgpack = 'application/msgpack'
  const cases: [name: string, body: unknown, type: string, status: number, code: string, pointer?: string][] =
    [
      [
        'unknown key',
        { ...good, 'observation/images': 1 },
        json,
        422,
        'OBSERVATION_INVALID',
        '/observation~1images',
      ],
      ['missing camera', withoutWrist, json, 422, 'OBSERVATION_INVALID', '/observation~1wrist_image'],
      [
        'state too short',
        { ...good, 'observation/state': state.slice(1) },
        json,
        422,
        'OBSERVATION_INVALID',
        '/observation~1state',
      ],
      [
        'null in the state',
        { ...good, 'observation/state': [...state.slice(1), null] },
        json,
        422,
        'OBSERVATION_INVALID',
        '/observation~1state/7',
      ],
      [
        'text in the state',
        { ...good, 'observation/state': [...state.slice(1), '1'] },
        json,
        422,
        'OBSERVATION_INVALID',
        '/observation~1state/7',
      ],
      [
        'NaN in the state',
        packed({ 'observation/state': nan }),
        msgpack,
        422,
        'OBSERVATION_INVALID',
        '/observation~1state/0',
      ],
      ['missing prompt', { ...good, prompt: undefined }, json, 422, 'OBSERVATION_INVALID', '/prompt'],
      [
        'prompt of 100 KB',
        { ...good, prompt: 'x'.repeat(100_000) },
        json,
        422,
        'OBSERVATION_INVALID',
        '/prompt',
      ],
      [
        'truncated JPEG',
        { ...good, 'observation/image': truncated },
        json,
        422,
        'IMAGE_INVALID',
        '/observation~1image',
      ],
      [
        '30000 × 30000 PNG',
        { ...good, 'observation/image': huge.toString('base64') },
        json,
        422,
        'IMAGE_TOO_LARGE',
        '/observation~1image',
      ],
      [
        'base64 garbage',
        { ...good, 'observation/image': '%%%%' },
        json,
        422,
        'IMAGE_INVALID',
        '/observation~1image',
      ],
      [
        'base64 of no image',
        { ...good, 'observation/image': 'aGVsbG8=' },
        json,
        422,
        'IMAGE_INVALID',
        '/observation~1image',
      ],
      [
        'raw pixels too few',
        { ...good, 'observation/image': { data: 'aGVs', encoding: 'rgb8', width: 2, height: 2 } },
        json,
        422,
        'IMAGE_INVALID',
        '/observation~1image',
      ],
      ['JSON cut short', '{"observation/image": "', json, 400, 'BODY_MALFORMED'],
      ['no body', '', json, 400, 'BODY_MALFORMED'],
      ['msgpack cut short', packed({}).subarray(0, 100), msgpack, 400, 'BODY_MALFORMED'],
      ['wrong content type', 'hello', 'text/plain', 415, 'CONTENT_TYPE_UNSUPPORTED'],
      ['body over the limit', 'x'.repeat(9 * 2 ** 20), json, 413, 'BODY_TOO_LARGE'],
      ['0 steps', { ...good, options: { num_steps: 0 } }, json, 422, 'OPTIONS_INVALID', '/options/num_steps'],
      [
        '1e9 steps',
        { ...good, options: { num_steps: 1e9 } },
        json,
        422,
        'OPTIONS_INVALID',
        '/options/num_steps',
      ],
      [
        'noise of the wrong shape',
        { ...good, options: { noise: [[0]] } },
        json,
        422,
        'OPTIONS_INVALID',
        '/options/noise',
      ],
      [
        'noise and seed',
        { ...good, options: { seed: 1, noise: Array(10).fill(Array(32).fill(0)) } },
        json,
        422,
        'OPTIONS_INVALID',
        '/options/seed',
      ],
      [
        'negative deadline',
        { ...good, options: { deadline_ms: -1 } },
        json,
        422,
        'OPTIONS_INVALID',
        '/options/deadline_ms',
      ],
    ]
  for (const [name, body, type, status, code, pointer] of cases) {
    const { response } = await post(body, type)
    t.equal(response.statusCode, status, name)
    t.match(response.headers['content-type'], 'application/problem+json', name)
    const problem = response.json()
    t.match(problem, { code, status, type: `urn:turbo-pi:error:${code}` }, name)
    if (pointer)
      t.ok(
        problem.errors.some((error: { pointer: string }) => error.pointer === pointer),
        `${name} names ${pointer}`,
      )
    t.notMatch(response.body, /node_modules|\.ts:|\.js:|(?:\n|\\n)\s*at /, `${name} leaks no stack`)
  }
  t.equal((await post(good)).status, 200, 'the next good request is answered')
})

t.test('a deadline that cannot be met is answered 504', async t => {
  const { status, body } = await post({ ...good, options: { deadline_ms: 0.001, num_steps: 50 } })
  t.equal(status, 504)
  t.equal(body.code, 'DEADLINE_EXCEEDED')
})

t.test('health, metadata and documentation', async t => {
  t.equal((await app.inject('/healthz')).body, 'OK\n')
  t.strictSame((await app.inject('/readyz')).json(), { status: 'ready' })
  const metadata = (await app.inject('/metadata')).json()
  t.match(metadata, {
    policy: 'tiny-libero',
    shape: { horizon: 10, actionSize: 7 },
    runtime: { backend: 'cpu' },
  })
  t.ok(metadata.observation_schema.properties['observation/wrist_image'])
  t.equal((await app.inject('/docs')).statusCode, 200)
  t.equal((await app.inject('/nothing')).json().code, 'NOT_FOUND')
})

t.test('an API key guards all but health', async t => {
  const guarded = await servePolicy(undefined, { apiKey: 'secret' })
  t.teardown(guarded.close)
  const status = async (url: string, authorization?: string) =>
    (await guarded.app.inject({ url, headers: authorization ? { authorization } : {} })).statusCode
  t.equal(await status('/healthz'), 200)
  t.equal(await status('/metadata'), 401)
  t.equal(await status('/metadata', 'Api-Key wrong'), 401)
  t.equal(await status('/metadata', 'Api-Key secret'), 200)
  t.equal(await status('/metadata', 'Bearer secret'), 200)
})

t.test('a request with neither a body nor a content type is refused as such', async t => {
  const response = await app.inject({ method: 'POST', url: '/infer' })
  t.equal(response.statusCode, 400)
  t.match(response.json(), { code: 'BODY_MALFORMED', detail: /no body/ })
})
