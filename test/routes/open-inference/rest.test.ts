import { deflateSync, gzipSync } from 'node:zlib'
import t from 'tap'
import { FAKE_MODEL } from '../../support/fake-policy.js'
import {
  binaryBody,
  elements,
  FAKE_DESCRIPTION,
  fakeTensors,
  floatsOf,
} from '../../support/open-inference.js'
import { startServer, stopServers, until } from '../../support/server.js'

t.teardown(stopServers)

const running = () => startServer({ runtime: { milliseconds: 1, maxBatch: 4 }, queueLimit: 8 })
const { url, service } = await running()
const get = async (path: string) => {
  const response = await fetch(url + path)
  return { status: response.status, body: await response.json() }
}
const INFER = '/v2/models/default/infer'

/** As Triton's clients post: without a content type. */
async function post(
  { body, headers = {} }: { body: Uint8Array | string; headers?: Record<string, string> },
  path = INFER,
  base = url,
) {
  const response = await fetch(base + path, { method: 'POST', headers, body: Buffer.from(body) })
  const bytes = Buffer.from(await response.arrayBuffer())
  const length = response.headers.get('inference-header-content-length')
  const json = JSON.parse(bytes.subarray(0, length === null ? bytes.length : Number(length)).toString())
  const binary = length === null ? Buffer.alloc(0) : bytes.subarray(Number(length))
  return { status: response.status, headers: response.headers, json, binary }
}
const postJson = (value: object, path = INFER) => post({ body: JSON.stringify(value) }, path)
const answersOf = async ({ metrics, events }: typeof service) => {
  events.flush()
  return (await metrics.registry.getSingleMetric('turbo_pi_answers_total')!.get()).values[0]!.value
}

const jsonInputs = [
  { name: 'observation/image', datatype: 'UINT8', shape: [1, 4, 4, 3], data: new Array(48).fill(0) },
  { name: 'observation/state', datatype: 'FP32', shape: [1, 2], data: [[3, 0]] },
  { name: 'prompt', datatype: 'BYTES', shape: [1], data: ['do it'] },
]

t.test('the server and its policy describe themselves', async t => {
  t.match(await get('/v2'), {
    status: 200,
    body: { name: 'turbo-pi', version: /^\d/, extensions: ['binary_tensor_data'] },
  })
  t.strictSame(await get('/v2/health/live'), { status: 200, body: { live: true } })
  t.strictSame(await get('/v2/health/ready'), { status: 200, body: { ready: true } })
  for (const path of ['/v2/models/default', '/v2/models/default/versions/1']) {
    t.strictSame(await get(path), { status: 200, body: FAKE_DESCRIPTION })
    t.strictSame(await get(`${path}/ready`), { status: 200, body: { name: 'default', ready: true } })
  }
})

t.test('unknown models, versions and addresses are named', async t => {
  const missing = {
    '/v2/models/arm': 'NOT_FOUND: There is no model arm; there is default.',
    '/v2/models/arm/ready': 'NOT_FOUND: There is no model arm; there is default.',
    '/v2/models/default/versions/2':
      'NOT_FOUND: The model default has no version 2; leave it out, or send 1.',
    '/v2/stats': 'NOT_FOUND: There is no GET /v2/stats; GET /docs lists the routes.',
  }
  for (const [path, error] of Object.entries(missing))
    t.strictSame(await get(path), { status: 404, body: { error } })
  const { status, json } = await postJson({ inputs: jsonInputs }, '/v2/models/arm/infer')
  t.strictSame([status, json], [404, { error: 'NOT_FOUND: There is no model arm; there is default.' }])
})

t.test('tensors in JSON get actions and a report in JSON', async t => {
  const { status, headers, json } = await postJson({
    id: 'grasp-1',
    inputs: jsonInputs,
    parameters: { seed: 5 },
  })
  t.equal(status, 200)
  t.match(headers.get('content-type'), /^application\/json/)
  t.match(json, { model_name: 'default', model_version: '1', id: 'grasp-1' })
  const [actions, report] = json.outputs
  t.strictSame(actions, { name: 'actions', datatype: 'FP32', shape: [1, 2, 2], data: [8, 8, 8, 8] })
  t.match(report, { name: 'report', datatype: 'BYTES', shape: [1] })
  t.match(JSON.parse(report.data[0]), {
    seed: 5,
    coalesced: false,
    truncated: false,
    guard: { findings: [] },
    model: FAKE_MODEL,
  })
})

t.test('binary tensors get what POST /infer answers, in binary', async t => {
  const sent = binaryBody(fakeTensors(3), { parameters: { seed: 5, binary_data_output: true } })
  const { status, headers, json, binary } = await post(sent, '/v2/models/default/versions/1/infer')
  t.equal(status, 200)
  t.equal(headers.get('content-type'), 'application/octet-stream')
  const [actions, report] = json.outputs
  t.strictSame(actions.parameters, { binary_data_size: 16 })
  t.strictSame(floatsOf(binary.subarray(0, 16)), [8, 8, 8, 8])
  t.equal(binary.readUInt32LE(16), report.parameters.binary_data_size - 4)
  t.match(JSON.parse(binary.subarray(20).toString()), { seed: 5 })
  const plain = await fetch(`${url}/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      'observation/image': {
        data: Buffer.alloc(48).toString('base64'),
        encoding: 'rgb8',
        width: 4,
        height: 4,
      },
      'observation/state': [3, 0],
      options: { seed: 5 },
    }),
  })
  t.strictSame(((await plain.json()) as { actions: number[][] }).actions.flat(), [8, 8, 8, 8])
})

t.test('an output may be asked for alone, and each as binary data or not', async t => {
  const outputs = [{ name: 'report' }, { name: 'actions', parameters: { binary_data: true } }]
  const { json, binary } = await post(binaryBody(fakeTensors(3), { outputs, parameters: { seed: 1 } }))
  t.equal(json.outputs[0].name, 'report')
  t.match(JSON.parse(json.outputs[0].data[0]), { seed: 1 })
  t.strictSame(floatsOf(binary), [4, 4, 4, 4])
  const alone = await postJson({ inputs: jsonInputs, outputs: [{ name: 'actions' }] })
  t.equal(alone.json.outputs.length, 1)
})

t.test('several observations are inferred together, each as its own', async t => {
  const before = await answersOf(service)
  const { status, json } = await post(binaryBody(fakeTensors(1, 20, 300)))
  t.equal(status, 200)
  t.strictSame(json.outputs[0].shape, [3, 2, 2])
  t.strictSame(json.outputs[0].data, [6, 6, 6, 6, 25, 25, 25, 25, 305, 305, 305, 305])
  t.equal(await answersOf(service), before + 3)
  const same = await post(binaryBody(fakeTensors(4, 4)))
  const reports = same.json.outputs[1].data.map((text: string) => JSON.parse(text))
  t.strictSame(
    reports.map(({ coalesced }: { coalesced: boolean }) => coalesced).sort(),
    [false, true],
    'two that are the same share one inference',
  )
})

t.test('bodies may be compressed, and the header counts what was inflated', async t => {
  const { body, headers } = binaryBody(fakeTensors(3))
  const packed = { gzip: gzipSync(body), deflate: deflateSync(body), identity: body }
  for (const [encoding, bytes] of Object.entries(packed)) {
    const { status, json } = await post({
      body: bytes,
      headers: { ...headers, 'content-encoding': encoding },
    })
    t.strictSame([status, json.outputs?.[0].data], [200, [8, 8, 8, 8]], encoding)
  }
  const other = await post({ body, headers: { ...headers, 'content-encoding': 'br' } })
  t.match(other, {
    status: 415,
    json: { error: /^CONTENT_TYPE_UNSUPPORTED: .* br\); this server reads gzip/ },
  })
  const torn = await post({
    body: gzipSync(body).subarray(0, 40),
    headers: { ...headers, 'content-encoding': 'gzip' },
  })
  t.match(torn, { status: 400, json: { error: /^BODY_MALFORMED: The body cannot be inflated/ } })
  const bomb = await post({
    body: gzipSync(Buffer.alloc(40 * 2 ** 20)),
    headers: { 'content-encoding': 'gzip' },
  })
  t.match(bomb, { status: 413, json: { error: /^BODY_TOO_LARGE/ } })
})

t.test('files, floats, doubles and explicit noise are taken as over MessagePack', async t => {
  const [image, state, prompt] = fakeTensors(3)
  const doubles = new Uint8Array(Float64Array.of(3, 0).buffer)
  const forms = {
    'an image file': [{ ...image, datatype: 'BYTES', shape: [1], bytes: elements('a file') }, state],
    'floats, channels first': [
      { ...image, datatype: 'FP32', shape: [1, 3, 4, 4], bytes: new Uint8Array(4 * 48) },
      state,
    ],
    'a column of texts': [image, state, { ...prompt, shape: [1, 1] }],
    'a state of doubles': [image, { ...state, datatype: 'FP64', bytes: doubles }],
  }
  for (const [form, tensors] of Object.entries(forms)) {
    const { json } = await post(binaryBody(tensors))
    t.strictSame(json.outputs?.[0].data, [8, 8, 8, 8], form)
  }
  const bytes = new Uint8Array(Float32Array.of(0.5, 1, 2, 3, 4, 5).buffer)
  const noise = { name: 'noise', datatype: 'FP32', shape: [1, 2, 3], bytes }
  const { json } = await post(binaryBody([image, state, noise], {}))
  t.strictSame(json.outputs[0].data, [3.5, 4, 5, 6])
})

t.test('a caller who leaves gives its places up, all of them', async t => {
  const { url, runtime, service } = await startServer({ runtime: { maxBatch: 1 } })
  const left = new AbortController()
  const { body, headers } = binaryBody(fakeTensors(1, 2, 3))
  const asked = fetch(url + INFER, { method: 'POST', headers, body, signal: left.signal })
  await until(() => runtime.open.length === 1, 'the first row is computed')
  left.abort()
  await t.rejects(asked)
  await until(() => runtime.open.length === 0, 'the engine is free')
  const depth = service.metrics.registry.getSingleMetric('turbo_pi_queue_depth')!
  t.equal((await depth.get()).values[0]!.value, 0, 'nobody waits')
})

t.test('where one observation has no place, none is computed', async t => {
  const { url, runtime } = await startServer({ runtime: { maxBatch: 1 }, queueLimit: 2 })
  const { status, json } = await post(binaryBody(fakeTensors(1, 2, 3, 4)), INFER, url)
  t.match([status, json], [503, { error: /^OVERLOADED/ }])
  await until(() => runtime.open.length === 0, 'the engine is free')
})

t.test('a deadline may come as deadline_ms or as Triton’s timeout in microseconds', async t => {
  const { url, runtime } = await startServer()
  for (const parameters of [{ deadline_ms: 30 }, { timeout: 30_000 }]) {
    const { status, json } = await post(binaryBody(fakeTensors(1), { parameters }), INFER, url)
    t.match([status, json], [504, { error: /^DEADLINE_EXCEEDED/ }])
    await until(() => runtime.open.length === 0, 'the engine is free')
  }
})

t.test('robots and keys count as over POST /infer', async t => {
  const { url, app, service } = await startServer({
    runtime: { milliseconds: 1, maxBatch: 4 },
    config: { apiKey: 'secret' },
  })
  const ask = (headers: Record<string, string>, ...tokens: number[]) => {
    const sent = binaryBody(fakeTensors(...tokens))
    return post({ body: sent.body, headers: { ...sent.headers, ...headers } }, INFER, url)
  }
  t.match(await ask({}, 1), { status: 401, json: { error: /^UNAUTHORIZED/ } })
  t.equal((await fetch(`${url}/v2`)).status, 401)
  for (const path of ['/v2/health/live', '/v2/health/ready', '/v2/models/default/ready'])
    t.equal((await fetch(url + path)).status, 200, `${path} is open`)
  const known = { authorization: 'Bearer secret', 'x-robot': 'arm-1' }
  t.equal((await ask(known, 1, 2)).status, 200)
  t.match(await ask({ ...known, 'x-robot': 'arm 1' }, 1), { status: 400, json: { error: /^ROBOT_INVALID/ } })
  const metrics = await (await fetch(`${url}/metrics`, { headers: known })).text()
  t.match(metrics, /turbo_pi_robot_answers_total\{robot="arm-1",policy="default"\} 2/)
  t.match(metrics, /turbo_pi_errors_total\{code="ROBOT_INVALID"\} 1/)
  await service.close()
  const closing = await ask(known, 1)
  t.match(closing, { status: 503, json: { error: /^SHUTTING_DOWN/ } })
  t.equal(closing.headers.get('retry-after'), '1')
  t.match(await (await fetch(`${url}/v2/health/ready`)).json(), { error: /^NOT_READY/ })
  await app.close()
})
