import t from 'tap'
import { binaryBody, elements, fakeTensors, type Tensor } from '../../support/open-inference.js'
import { startServer, stopServers } from '../../support/server.js'

t.teardown(stopServers)

const { url, runtime } = await startServer({ runtime: { milliseconds: 1, maxBatch: 4 } })

async function refused(
  body: string | Uint8Array,
  headers: Record<string, string> = {},
): Promise<[status: number, error: string]> {
  const response = await fetch(`${url}/v2/models/default/infer`, {
    method: 'POST',
    headers,
    body: Buffer.from(body),
  })
  const { error = 'none' } = (await response.json()) as { error?: string }
  return [response.status, error]
}
const tensors = (...inputs: Tensor[]) => {
  const { body, headers } = binaryBody(inputs)
  return refused(body, headers)
}
const [image, state, prompt] = fakeTensors(3)

t.test('tensors that lie are refused by their names, before anything is computed', async t => {
  const many = 2 ** 31
  const lies: Record<string, [sent: Tensor[], error: string | RegExp]> = {
    'another name': [
      [image, { ...state, name: 'states' }],
      '/states is no tensor of this policy (it takes observation/image, observation/state, prompt, noise)',
    ],
    'a name twice': [[image, state, state], '/observation~1state is given twice'],
    'none of a camera': [[state], '/observation~1image is required and missing'],
    'a datatype that is none': [
      [image, { ...state, datatype: 'FP31' }],
      /state has datatype FP31; it takes BYTES, BOOL/,
    ],
    'no dimension': [[image, { ...state, shape: [] }], /state has shape \[\]; it takes 1 to 8 dimensions/],
    'dimensions beyond all numbers': [
      [image, { ...state, shape: [1, many, many, many] }],
      /it takes 1 to 8 dimensions/,
    ],
    'no observation': [
      [
        { ...image, shape: [0, 4, 4, 3], bytes: new Uint8Array() },
        { ...state, shape: [0, 2], bytes: new Uint8Array() },
      ],
      /image holds 0 observations; a request takes 1 to 64/,
    ],
    'many observations': [
      [{ ...image, shape: [many, 4, 4, 3] }, state],
      /holds 2147483648 observations; a request takes 1 to 64/,
    ],
    'another number of observations': [
      [image, { ...state, shape: [2, 2] }],
      /state holds 2 observations, and observation\/image 1; give as many/,
    ],
    'more pixels than bytes': [
      [{ ...image, shape: [1, 60_000, 60_000, 3] }, state],
      /image must hold 10800000000 × 1 bytes for its shape, got 48/,
    ],
    'a picture that is none': [
      [{ ...image, shape: [1, 48] }, state],
      /image must have shape \[height, width, 3\]/,
    ],
    'a state of another size': [
      [image, { ...state, shape: [1, 1], bytes: state.bytes.subarray(4) }],
      '/observation~1state must hold 2 numbers, got 1',
    ],
    'a state that is not finite': [
      [image, { ...state, bytes: new Uint8Array(Float32Array.of(Number.NaN, 0).buffer) }],
      '/observation~1state/0 must be finite, got NaN',
    ],
    'a state of texts': [
      [image, { ...state, datatype: 'BYTES', shape: [1], bytes: elements('3') }],
      /state takes the state: 2 numbers, got 1 bytes/,
    ],
    'a prompt of numbers': [
      [image, state, { ...prompt, datatype: 'FP32', bytes: new Uint8Array(4) }],
      /prompt must be text/,
    ],
    'a prompt that is no UTF-8': [
      [image, state, { ...prompt, bytes: elements(Uint8Array.of(0xff)) }],
      /prompt must be well-formed Unicode/,
    ],
    'several texts an observation': [
      [image, state, { ...prompt, shape: [1, 2] }],
      /prompt has shape \[1, 2\]; BYTES takes one element an observation, \[1\]/,
    ],
    'a text longer than its bytes': [
      [image, state, { ...prompt, bytes: Uint8Array.of(255, 255, 255, 255, 65) }],
      /prompt ends within element 0 of 1/,
    ],
    'a text without its length': [
      [image, state, { ...prompt, bytes: Uint8Array.of(1) }],
      /prompt ends within element 0 of 1/,
    ],
    'bytes after the last text': [
      [image, state, { ...prompt, bytes: elements('one', 'two') }],
      /prompt has 7 bytes after its 1 elements/,
    ],
    'noise of another shape': [
      [image, state, { name: 'noise', datatype: 'FP32', shape: [1, 2], bytes: new Uint8Array(8) }],
      /OPTIONS_INVALID: .*exclude each other|OPTIONS_INVALID: \/options\/noise must have shape/,
    ],
  }
  for (const [lie, [sent, expected]] of Object.entries(lies)) {
    const [status, error] = await tensors(...sent)
    t.equal(status, 422, lie)
    if (typeof expected === 'string') t.equal(error, `OBSERVATION_INVALID: ${expected}`, lie)
    else t.match(error, expected, lie)
  }
  t.equal(runtime.calls.length, 0)
})

t.test('of several observations the one that is wrong is told', async t => {
  const [images, states, prompts] = fakeTensors(1, 2, 3)
  const numbers = Float32Array.of(1, 0, Number.POSITIVE_INFINITY, 0, 3, 0)
  const [status, error] = await tensors(images, { ...states, bytes: new Uint8Array(numbers.buffer) }, prompts)
  t.equal(status, 422)
  t.equal(
    error,
    'OBSERVATION_INVALID: Observation 1 of 3: /observation~1state/0 must be finite, got Infinity',
  )
})

t.test('parameters and outputs that are not known are refused by their names', async t => {
  const { body, headers } = binaryBody([image, state])
  const length = Number(headers['inference-header-content-length'])
  const json = JSON.parse(body.subarray(0, length).toString())
  const binary = body.subarray(length)
  const cases: [change: object, error: RegExp][] = [
    [
      { parameters: { priority: 1 } },
      /^OPTIONS_INVALID: The parameter priority is not one that is known \(it takes num_steps, seed, deadline_ms, timeout\)/,
    ],
    [{ parameters: { num_steps: 51 } }, /^OPTIONS_INVALID: \/options\/num_steps must be <= 50, got 51/],
    [{ parameters: { seed: '5' } }, /^OPTIONS_INVALID: \/options\/seed must be integer, got "5"/],
    [
      { parameters: { timeout: 0 } },
      /^OPTIONS_INVALID: The parameter timeout must be microseconds above 0, got 0/,
    ],
    [{ parameters: { timeout: 1, deadline_ms: 1 } }, /timeout and deadline_ms exclude each other/],
    [
      { parameters: { binary_data_output: 1 } },
      /^BODY_MALFORMED: The parameter binary_data_output must be true or false/,
    ],
    [
      { outputs: [{ name: 'action' }] },
      /^OPTIONS_INVALID: The output action is no output \(there are actions, report\)/,
    ],
    [{ outputs: [{ name: 'actions' }, { name: 'actions' }] }, /actions is asked for twice/],
    [
      { outputs: [{ name: 'actions', parameters: { classification: 3 } }] },
      /^BODY_MALFORMED: .*classification/,
    ],
    [{ inputs: [] }, /^BODY_MALFORMED: \/inputs must not have fewer than 1 items/],
    [{ sequence: 1 }, /^BODY_MALFORMED: \/sequence is not a key/],
    [{ id: 7 }, /^BODY_MALFORMED: \/id must be string, got 7/],
  ]
  for (const [change, expected] of cases) {
    const changed = Buffer.from(JSON.stringify({ ...json, ...change }))
    const [status, error] = await refused(Buffer.concat([changed, binary]), {
      'inference-header-content-length': `${changed.length}`,
    })
    t.ok([400, 422].includes(status), error)
    t.match(error, expected)
  }
})

t.test('lengths that lie are refused by their names', async t => {
  const { body } = binaryBody([image, state])
  for (const length of ['0', '-1', '1e3', '0x10', `${body.length + 1}`, '99999999999999999999', 'all']) {
    const [status, error] = await refused(body, { 'inference-header-content-length': length })
    t.equal(status, 400, length)
    t.match(
      error,
      /^BODY_MALFORMED: The header inference-header-content-length must be the bytes of the JSON/,
    )
  }
  const sized = (size: unknown, data?: unknown) =>
    JSON.stringify({
      inputs: [
        { name: 'prompt', datatype: 'BYTES', shape: [1], data, parameters: { binary_data_size: size } },
      ],
    })
  const cases: [body: string, error: RegExp][] = [
    [sized(7), /name 7 bytes after the JSON \(binary_data_size\), and the body has 0/],
    [sized(2 ** 60), /BODY_MALFORMED: /],
    [sized(-1), /binary_data_size must be >= 0/],
    [sized('7'), /binary_data_size must be integer/],
    [sized(7, ['x']), /The tensor prompt must have either data or the parameter binary_data_size/],
    [sized(undefined), /The tensor prompt must have either data or the parameter binary_data_size/],
    ['', /BODY_MALFORMED: /],
    ['[]', /BODY_MALFORMED: /],
    ['{"inputs": 1}', /BODY_MALFORMED: \/inputs must be array/],
  ]
  for (const [sent, expected] of cases) {
    const [status, error] = await refused(sent)
    t.equal(status, 400, sent)
    t.match(error, expected)
  }
})

t.test('elements in JSON are those of their datatype', async t => {
  const send = (name: string, datatype: string, shape: number[], data: unknown) =>
    refused(
      JSON.stringify({
        inputs: [
          { name: 'observation/image', datatype: 'UINT8', shape: [1, 4, 4, 3], data: new Array(48).fill(0) },
          { name: 'observation/state', datatype: 'FP32', shape: [1, 2], data: [3, 0] },
        ].map(tensor => (tensor.name === name ? { name, datatype, shape, data } : tensor)),
      }),
    )
  const cases: [name: string, datatype: string, data: unknown, error: RegExp][] = [
    ['observation/state', 'FP32', [3], /state must hold 2 elements for its shape, got 1/],
    ['observation/state', 'FP32', [3, '0'], /must hold numbers, got string as element 1/],
    ['observation/state', 'FP16', [3, 0], /of datatype FP16 has no form as numbers: send its bytes/],
    ['observation/state', 'INT8', [3, 128], /must hold integers from -128 to 127, got 128 as element 1/],
    ['observation/state', 'UINT64', [3, 0.5], /must hold integers from 0 to 9007199254740991/],
    ['observation/state', 'BYTES', [3, 0], /BYTES takes one element an observation/],
  ]
  for (const [name, datatype, data, expected] of cases) {
    const [status, error] = await send(name, datatype, [1, 2], data)
    t.equal(status, 422, error)
    t.match(error, expected)
  }
  const [, notBase64] = await send('observation/image', 'BYTES', [1], ['%'])
  t.match(notBase64, /^IMAGE_INVALID: \/observation~1image must be base64/)
  const [, numbers] = await send('observation/image', 'BYTES', [1], [1])
  t.match(numbers, /image of datatype BYTES must hold texts/)
})

t.test('what is too much is refused cheaply', async t => {
  const zeros = `{"inputs":[{"name":"observation/image","datatype":"UINT8","shape":[1,999,999,3],"data":[${'0,'.repeat(2 ** 20)}0]}]}`
  const bodies: [body: string, error: RegExp][] = [
    [zeros, /^BODY_MALFORMED: JSON: more than 100000 values/],
    [`{"inputs":[${'{},'.repeat(90_000)}{}]}`, /^BODY_MALFORMED: /],
    [`{"inputs":${'['.repeat(40)}${']'.repeat(40)}}`, /nested deeper than 32/],
    [`{"inputs":[],"inputs":[]}`, /a key occurs twice/],
    [
      `{"parameters":{${Array.from({ length: 40_000 }, (_, i) => `"p${i}":1`).join(',')}},"inputs":[{"name":"a","datatype":"B","shape":[1],"data":[]}]}`,
      /^OPTIONS_INVALID: The parameter p0 is not one/,
    ],
  ]
  for (const [body, expected] of bodies) {
    const [status, error] = await refused(body)
    t.ok([400, 422].includes(status), error.slice(0, 200))
    t.match(error, expected)
    t.ok(error.length < 20_000)
  }
  const [status, error] = await refused(Buffer.alloc(33 * 2 ** 20))
  t.match([status, error], [413, /^BODY_TOO_LARGE: This server takes bodies of 33554432 bytes/])
  const [type, why] = await refused('x=1', { 'content-type': 'application/x-www-form-urlencoded' })
  t.match(
    [type, why],
    [415, /^CONTENT_TYPE_UNSUPPORTED: .*send application\/json, application\/octet-stream or none/],
  )
  const empty = await fetch(`${url}/v2/models/default/infer`, { method: 'POST' })
  t.match([empty.status, await empty.json()], [400, { error: /^BODY_MALFORMED: The request has no body/ }])
})
