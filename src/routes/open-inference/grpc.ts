import { CALLER_LEFT, Cancellation } from '../../cancellation.js'
import {
  GRPC_SERVICE,
  readInferRequest,
  readModelName,
  writeFlag,
  writeInferReply,
  writeModelMetadata,
  writeServerMetadata,
} from '../../contract/open-inference/grpc.js'
import type { Connections } from '../connections.js'
import type { Turns } from '../event-loop-turns.js'
import type { GrpcCaller, GrpcCalls } from './grpc-calls.js'
import type { handleUnaryCall, ServiceDefinition, UntypedServiceImplementation } from './grpc-js.js'
import { inferTensors } from './infer.js'
import { type Models, modelMetadata, SERVER_METADATA } from './models.js'

/** One call: the bytes of its message, and how its caller may leave. */
interface Call {
  readonly message: Buffer
  readonly caller: GrpcCaller
  readonly gone: Cancellation
  /** Milliseconds from now. */
  readonly deadlineMs: number | undefined
}

type Method = (call: Call) => Uint8Array | Promise<Uint8Array>

const asIs = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/**
 * The service of openapi/open-inference.proto. Messages are read here and not by the library, so that what is wrong with one gets
 * an error of ours, and its parts are counted before they become objects.
 */
export function openInferenceService(
  models: Models,
  calls: GrpcCalls,
  { turns, connections }: { turns: Turns; connections: Connections },
): { definition: ServiceDefinition; implementation: UntypedServiceImplementation } {
  const methods: Record<string, Method> = {
    ServerLive: () => writeFlag(true),
    ServerReady: () => writeFlag(models.unready === undefined),
    ModelReady: ({ message }) => writeFlag(models.find(readModelName(message)).current.service.ready),
    ServerMetadata: () => writeServerMetadata(SERVER_METADATA),
    ModelMetadata: ({ message }) => writeModelMetadata(modelMetadata(models.find(readModelName(message)))),
    ModelInfer: async ({ message, caller, gone, deadlineMs }) => {
      await turns.next()
      const request = readInferRequest(message)
      const served = models.find(request.model)
      caller.served = served
      const socket = calls.arrivals.socketOf(caller.peer)
      const peer = socket && connections.peer(socket)
      if (peer) peer.work += 1
      try {
        const outputs = await inferTensors(served, request, {
          session: caller.peer,
          robot: caller.robot,
          key: caller.key,
          gone,
          deadlineMs,
          reached: () => {
            caller.reachedService = true
          },
        })
        return writeInferReply(served.name, request.id, outputs)
      } finally {
        if (peer) peer.work -= 1
      }
    },
  }
  return {
    definition: Object.fromEntries(Object.keys(methods).map(name => [name, unary(name)])),
    implementation: Object.fromEntries(
      Object.entries(methods).map(([name, method]) => [name, handler(method, calls)]),
    ),
  }
}

const unary = (name: string) => ({
  path: `/${GRPC_SERVICE}/${name}`,
  requestStream: false,
  responseStream: false,
  requestSerialize: asIs,
  requestDeserialize: (bytes: Buffer) => bytes,
  responseSerialize: asIs,
  responseDeserialize: (bytes: Buffer) => bytes,
})

function handler(method: Method, calls: GrpcCalls): handleUnaryCall<Buffer, Uint8Array> {
  return async (call, callback) => {
    const caller = calls.callerOf(call.metadata)
    const gone = new Cancellation()
    call.once('cancelled', () => gone.abort(CALLER_LEFT))
    if (call.cancelled) gone.abort(CALLER_LEFT)
    const deadline = Number(call.getDeadline())
    // What has passed is not started.
    const deadlineMs = Number.isFinite(deadline)
      ? Math.max(Number.MIN_VALUE, deadline - Date.now())
      : undefined
    try {
      callback(null, await method({ message: call.request, caller, gone, deadlineMs }))
    } catch (error) {
      callback(calls.refused(error, caller))
    }
  }
}
