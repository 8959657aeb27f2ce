import {
  type ChannelCredentials,
  credentials,
  type GrpcObject,
  loadPackageDefinition,
  Metadata,
  type ServiceClientConstructor,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { repositoryPath } from './served-policy.js'
import type { TestServer } from './server.js'

/** A tensor of a request, with its bytes. */
export interface Tensor {
  name: string
  datatype: string
  shape: readonly number[]
  bytes: Uint8Array
}

const floats = (numbers: readonly number[]) => new Uint8Array(Float32Array.from(numbers).buffer)

export const floatsOf = (bytes: Buffer) => [...new Float32Array(Uint8Array.from(bytes).buffer)]

/** Elements of BYTES, each after its length. */
export const elements = (...parts: (string | Uint8Array)[]): Uint8Array =>
  Buffer.concat(
    parts.flatMap(part => {
      const length = Buffer.alloc(4)
      length.writeUInt32LE(Buffer.byteLength(part))
      return [length, Buffer.from(part)]
    }),
  )

/** How the fake policy, served as `default`, describes itself. */
export const FAKE_DESCRIPTION = {
  name: 'default',
  versions: ['1'],
  platform: 'turbo-pi',
  inputs: [
    { name: 'observation/image', datatype: 'UINT8', shape: [-1, -1, -1, 3] },
    { name: 'observation/state', datatype: 'FP32', shape: [-1, 2] },
    { name: 'prompt', datatype: 'BYTES', shape: [-1] },
  ],
  outputs: [
    { name: 'actions', datatype: 'FP32', shape: [-1, 2, 2] },
    { name: 'report', datatype: 'BYTES', shape: [-1] },
  ],
}

/** Observations of the fake policy as tensors: pictures, states whose first number an answer shows, prompts. */
export function fakeTensors(...tokens: number[]): [image: Tensor, state: Tensor, prompt: Tensor] {
  const count = tokens.length
  return [
    {
      name: 'observation/image',
      datatype: 'UINT8',
      shape: [count, 4, 4, 3],
      bytes: new Uint8Array(48 * count),
    },
    {
      name: 'observation/state',
      datatype: 'FP32',
      shape: [count, 2],
      bytes: floats(tokens.flatMap(token => [token, 0])),
    },
    { name: 'prompt', datatype: 'BYTES', shape: [count], bytes: elements(...tokens.map(() => 'do it')) },
  ]
}

/** A body with binary data, as Triton's clients send it, and its header. */
export function binaryBody(tensors: readonly Tensor[], rest: object = { parameters: { seed: 5 } }) {
  const json = Buffer.from(
    JSON.stringify({
      ...rest,
      inputs: tensors.map(({ bytes, ...tensor }) => ({
        ...tensor,
        parameters: { binary_data_size: bytes.byteLength },
      })),
    }),
  )
  return {
    body: Buffer.concat([json, ...tensors.map(({ bytes }) => bytes)]),
    headers: { 'inference-header-content-length': String(json.byteLength) } as Record<string, string>,
  }
}

/** What a call over gRPC gives, as proto-loader reads it. */
// biome-ignore lint/suspicious/noExplicitAny: answers of all methods, looked at by tests
export type GrpcReply = any

type Callback = (error: Error | null, reply: GrpcReply) => void
type Call = { cancel(): void }
type Method = (message: object, metadata: Metadata, options: { deadline?: Date }, callback: Callback) => Call

const { GRPCInferenceService: Service } = loadPackageDefinition(
  loadSync(repositoryPath('openapi/open-inference.proto'), { keepCase: true, longs: Number, oneofs: true }),
)['inference'] as GrpcObject & { GRPCInferenceService: ServiceClientConstructor }

/** A client of grpc-js, made of the published .proto by proto-loader: nothing of it is the server's. */
export class GrpcClient {
  readonly #client: Record<string, Method> & { close(): void }
  call: Call | undefined

  constructor(port: number, secure: ChannelCredentials = credentials.createInsecure(), host = '127.0.0.1') {
    // One connection a client: channels to the same address share theirs else.
    this.#client = new Service(`${host}:${port}`, secure, {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_send_message_length': -1,
    }) as unknown as Record<string, Method> & { close(): void }
  }

  ask(
    method: string,
    message: object = {},
    { metadata = {}, deadline }: { metadata?: Record<string, string>; deadline?: Date } = {},
  ): Promise<GrpcReply> {
    const sent = new Metadata()
    for (const [name, value] of Object.entries(metadata)) sent.set(name, value)
    return new Promise((resolve, reject) => {
      this.call = this.#client[method]!(message, sent, deadline ? { deadline } : {}, (error, reply) =>
        error ? reject(error) : resolve(reply),
      )
    })
  }

  infer(tensors: readonly Tensor[], rest: object = {}, options: Parameters<GrpcClient['ask']>[2] = {}) {
    return this.ask('ModelInfer', inferMessage(tensors, rest), options)
  }

  close(): void {
    this.#client.close()
  }
}

/** ModelInferRequest with raw contents, for proto-loader. */
export const inferMessage = (tensors: readonly Tensor[], rest: object = {}) => ({
  model_name: 'default',
  parameters: { seed: { int64_param: 5 } },
  inputs: tensors.map(({ bytes, ...tensor }) => tensor),
  raw_input_contents: tensors.map(({ bytes }) => bytes),
  ...rest,
})

/** A client of a test's server, whose config has `grpcPort: 0`. */
export async function grpcClient({ app }: TestServer): Promise<{ client: GrpcClient; port: number }> {
  const port = (await app.listenGrpc())!
  return { client: new GrpcClient(port), port }
}

/** ModelInferRequest as a call sends it, for connections that are made by hand. */
export function framedMessage(tensors: readonly Tensor[]): Buffer {
  const message = Service.service['ModelInfer']!.requestSerialize(inferMessage(tensors))
  const head = Buffer.alloc(5)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}
