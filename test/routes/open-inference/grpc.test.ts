import { type Metadata, status } from '@grpc/grpc-js'
import t from 'tap'
import { FAKE_MODEL } from '../../support/fake-policy.js'
import {
  FAKE_DESCRIPTION,
  fakeTensors,
  floatsOf,
  type GrpcReply,
  grpcClient,
  inferMessage,
  type Tensor,
} from '../../support/open-inference.js'
import { startServer, stopServers } from '../../support/server.js'

t.teardown(stopServers)

const server = await startServer({
  runtime: { milliseconds: 1, maxBatch: 4 },
  config: { grpcPort: 0 },
})
const { client } = await grpcClient(server)
t.teardown(() => client.close())

const [image, state, prompt] = fakeTensors(3)

/** Why a call was refused. */
async function refused(call: Promise<GrpcReply>) {
  const error: { code: number; details: string; metadata: Metadata } = await call.then(
    () => t.fail('the call was answered'),
    given => given,
  )
  return { code: error.code, details: error.details, ours: error.metadata.get('turbo-pi-code')[0] }
}

t.test('the server and its policy describe themselves', async t => {
  t.strictSame(await client.ask('ServerLive'), { live: true })
  t.strictSame(await client.ask('ServerReady'), { ready: true })
  t.strictSame(await client.ask('ModelReady', { name: 'default', version: '1' }), { ready: true })
  t.match(await client.ask('ServerMetadata'), {
    name: 'turbo-pi',
    version: /^\d/,
    extensions: ['binary_tensor_data'],
  })
  t.match(await client.ask('ModelMetadata', { name: 'default' }), FAKE_DESCRIPTION)
})

t.test('raw tensors get actions and a report', async t => {
  const reply = await client.infer([image, state, prompt], { id: 'grasp-1' })
  t.match(reply, { model_name: 'default', model_version: '1', id: 'grasp-1' })
  t.match(reply.outputs, [
    { name: 'actions', datatype: 'FP32', shape: [1, 2, 2] },
    { name: 'report', datatype: 'BYTES', shape: [1] },
  ])
  const [actions, report] = reply.raw_output_contents
  t.strictSame(floatsOf(actions), [8, 8, 8, 8])
  t.equal(report.readUInt32LE(), report.length - 4)
  t.match(JSON.parse(report.subarray(4).toString()), { seed: 5, model: FAKE_MODEL })
})

t.test('several observations are inferred together, and outputs chosen', async t => {
  const reply = await client.infer(fakeTensors(1, 20, 300), { outputs: [{ name: 'actions' }] })
  t.equal(reply.raw_output_contents.length, 1)
  t.strictSame(floatsOf(reply.raw_output_contents[0]), [6, 6, 6, 6, 25, 25, 25, 25, 305, 305, 305, 305])
})

t.test('typed contents mean the same as raw ones', async t => {
  const typed = (tensor: Tensor, contents: object) => ({
    name: tensor.name,
    datatype: tensor.datatype,
    shape: tensor.shape,
    contents,
  })
  const states: Record<string, object> = {
    FP32: { fp32_contents: [3, 0] },
    FP64: { fp64_contents: [3, 0] },
    INT8: { int_contents: [3, 0] },
    INT64: { int64_contents: [3, 0] },
    UINT16: { uint_contents: [3, 0] },
    UINT64: { uint64_contents: [3, 0] },
  }
  for (const [datatype, contents] of Object.entries(states)) {
    const reply = await client.ask('ModelInfer', {
      ...inferMessage([]),
      inputs: [
        typed(image, { uint_contents: new Array(48).fill(0) }),
        typed({ ...state, datatype }, contents),
        typed(prompt, { bytes_contents: [Buffer.from('do it')] }),
      ],
    })
    t.strictSame(floatsOf(reply.raw_output_contents[0]), [8, 8, 8, 8], datatype)
  }
})

t.test('parameters are the options of POST /infer', async t => {
  const ask = async (parameters: object) => {
    const [actions, report] = (await client.infer([image, state], { parameters })).raw_output_contents
    return { actions: floatsOf(actions), report: JSON.parse(report.subarray(4).toString()) }
  }
  t.match(await ask({ seed: { uint64_param: 9 } }), { actions: [12, 12, 12, 12], report: { seed: 9 } })
  t.match(await ask({ seed: { double_param: 9 } }), { report: { seed: 9 } })
  server.runtime.samplings.length = 0
  await ask({ num_steps: { int64_param: 3 }, deadline_ms: { double_param: 5000.5 } })
  t.equal(server.runtime.samplings[0]![0]!.steps, 3)
})

t.test('errors have a status of gRPC, our code and the words of HTTP', async t => {
  const { INVALID_ARGUMENT, NOT_FOUND } = status
  const cases: Record<string, [call: () => Promise<GrpcReply>, code: number, ours: string, details: RegExp]> =
    {
      'a state of another size': [
        () => client.infer([image, { ...state, shape: [1, 1], bytes: state.bytes.subarray(4) }]),
        INVALID_ARGUMENT,
        'OBSERVATION_INVALID',
        /^OBSERVATION_INVALID: \/observation~1state must hold 2 numbers, got 1$/,
      ],
      'an unknown model': [
        () => client.ask('ModelInfer', { model_name: 'arm' }),
        NOT_FOUND,
        'NOT_FOUND',
        /There is no model arm; there is default/,
      ],
      'an unknown version': [
        () => client.ask('ModelMetadata', { name: 'default', version: '7' }),
        NOT_FOUND,
        'NOT_FOUND',
        /has no version 7/,
      ],
      'a parameter of another type': [
        () => client.infer([image, state], { parameters: { seed: { string_param: '5' } } }),
        INVALID_ARGUMENT,
        'OPTIONS_INVALID',
        /\/options\/seed must be integer, got "5"/,
      ],
      'no tensors': [
        () => client.infer([]),
        INVALID_ARGUMENT,
        'OBSERVATION_INVALID',
        /inputs is empty; send observation\/image/,
      ],
      'a tensor without data': [
        () =>
          client.ask('ModelInfer', {
            model_name: 'default',
            inputs: [{ name: 'prompt', datatype: 'BYTES', shape: [1] }],
          }),
        INVALID_ARGUMENT,
        'BODY_MALFORMED',
        /The tensor prompt must have either contents or raw_input_contents/,
      ],
      'raw contents of fewer tensors': [
        () => client.infer([image, state], { raw_input_contents: [image.bytes] }),
        INVALID_ARGUMENT,
        'BODY_MALFORMED',
        /raw_input_contents has 1 parts for 2 inputs/,
      ],
      'shared memory': [
        () =>
          client.infer([], {
            inputs: [
              {
                name: 'prompt',
                datatype: 'BYTES',
                shape: [1],
                parameters: { shared_memory_region: { string_param: 'r' } },
              },
            ],
          }),
        INVALID_ARGUMENT,
        'BODY_MALFORMED',
        /The tensor prompt has the parameter shared_memory_region; over gRPC it takes none/,
      ],
      'a name of half a letter': [
        () => client.infer([image, state], { outputs: [{ name: '\ud800 %' }] }),
        INVALID_ARGUMENT,
        'OPTIONS_INVALID',
        /is no output/,
      ],
      'a robot’s name that is none': [
        () => client.infer([image, state], {}, { metadata: { 'x-robot': 'arm 1' } }),
        INVALID_ARGUMENT,
        'ROBOT_INVALID',
        /A robot's name has 1 to 64/,
      ],
    }
  for (const [what, [call, code, ours, details]] of Object.entries(cases)) {
    const error = await refused(call())
    t.strictSame([error.code, error.ours], [code, ours], what)
    t.match(error.details, details, what)
  }
})

t.test('messages of hostile size and structure are refused by their names', async t => {
  const { INVALID_ARGUMENT, RESOURCE_EXHAUSTED } = status
  const input = { name: 'observation/image', datatype: 'UINT8', shape: [1, 4, 4, 3] }
  const parts = await refused(client.infer([], { inputs: new Array(200_000).fill({}) }))
  t.match(parts, { code: INVALID_ARGUMENT, details: /more than 100000 values in one message/ })
  const numbers = { uint_contents: new Array(150_000).fill(0) }
  const pixels = await refused(client.infer([], { inputs: [{ ...input, contents: numbers }] }))
  t.match(pixels, { code: INVALID_ARGUMENT, details: /send pictures as raw_input_contents/ })
  const mixed = { uint_contents: [0], bytes_contents: [Buffer.of(0)] }
  const kinds = await refused(client.infer([], { inputs: [{ ...input, contents: mixed }] }))
  t.match(kinds, { code: INVALID_ARGUMENT, details: /contents of a tensor are of one kind/ })
  const dimensions = { ...image, shape: new Array(50_000).fill(2 ** 40) }
  t.match(await refused(client.infer([dimensions])), {
    code: INVALID_ARGUMENT,
    details: /it takes 1 to 8 dimensions/,
  })
  const large = await refused(client.infer([{ ...image, bytes: new Uint8Array(33 * 2 ** 20) }]))
  t.equal(large.code, RESOURCE_EXHAUSTED)
  const long = await refused(client.infer([{ ...image, name: '×'.repeat(2 ** 20) }]))
  t.match(long, { code: INVALID_ARGUMENT, details: /is no tensor of this policy/ })
  t.match(await client.infer([image, state]), { model_name: 'default' }, 'and the next one is answered')
})

t.test('metrics and robots count calls of gRPC as those of HTTP', async t => {
  await client.infer(fakeTensors(1, 2), {}, { metadata: { 'x-robot': 'arm-2' } })
  const metrics = await (await fetch(`${server.url}/metrics`)).text()
  t.match(metrics, /turbo_pi_robot_answers_total\{robot="arm-2",policy="default"\} 2/)
  t.match(metrics, /turbo_pi_errors_total\{code="ROBOT_INVALID"\} 1/)
})
