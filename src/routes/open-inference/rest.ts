import type { FastifyInstance, FastifyReply, FastifyRequest, FastifySchema } from 'fastify'
import { Type } from 'typebox'
import { errorText } from '../../contract/open-inference/errors.js'
import { HEADER_LENGTH, writeRestReply } from '../../contract/open-inference/rest.js'
import {
  ModelMetadataSchema,
  OpenInferenceErrorSchema,
  OpenInferenceReplySchema,
  OpenInferenceRequestSchema,
  ServerMetadataSchema,
} from '../../contract/open-inference/schemas.js'
import { type ProblemDocument, problemOf } from '../../contract/problem.js'
import type { TurboPiError } from '../../errors.js'
import { bodyOf } from '../body.js'
import { callerGone } from '../caller-gone.js'
import type { Connections } from '../connections.js'
import { Turns } from '../event-loop-turns.js'
import { errorReplies, notFoundReplies } from '../problems.js'
import type { Refusals } from '../refusals.js'
import type { RequestMemory } from '../request-memory.js'
import { type Robots, robotNames } from '../robots.js'
import { inferTensors } from './infer.js'
import { type Models, modelMetadata, SERVER_METADATA } from './models.js'
import { type TensorBody, tensorBodies } from './rest-body.js'

/** What the routes share with those of the rest of the server. */
export interface OpenInferenceShared {
  robots: Robots
  turns: Turns
  refusals: Refusals
  connections: Connections
  memory: RequestMemory
  bodyLimit: number
}

interface ModelParams {
  model: string
  version?: string
}

/** Addresses of a model, without its version and with it, and what their operations are called. */
const ADDRESSES = [
  { path: '/models/:model', suffix: '' },
  { path: '/models/:model/versions/:version', suffix: 'Version' },
] as const

const refusal = (description: string) => ({
  description,
  content: { 'application/json': { schema: OpenInferenceErrorSchema } },
})
const REFUSED = {
  '4xx': refusal('The request is at fault; nothing was computed.'),
  '5xx': refusal('The server is at fault, overloaded, not ready or too late.'),
}

/** GET /v2 and below: the Open Inference Protocol, version 2, with binary tensor data. The routes are registered under /v2. */
export function openInferenceRoutes(
  app: FastifyInstance,
  models: Models,
  { robots, turns, refusals, connections, ...limits }: OpenInferenceShared,
): void {
  const served = ({ params }: FastifyRequest) => models.named((params as Partial<ModelParams>).model)
  errorReplies(
    app,
    refusals,
    request => served(request)?.metrics ?? refusals,
    (reply, problem) => reply.type('application/json').serializer(JSON.stringify).send(told(problem)),
  )
  notFoundReplies(app, refusals, (reply, problem) => reply.type('application/json').send(told(problem)))
  robotNames(app, robots, request => served(request)?.name)
  tensorBodies(app, limits)
  serverRoutes(app, models)
  const bodyTurns = new Turns()
  for (const { path, suffix } of ADDRESSES) {
    modelRoutes(app, models, path, suffix)
    app.post<{ Params: ModelParams }>(
      `${path}/infer`,
      {
        schema: {
          ...described('inferTensors', suffix, 'Compute action chunks for observations that come as tensors'),
          description:
            'As POST /infer, for several observations at once. With the header Inference-Header-Content-Length, which counts the JSON, binary data of tensors follow it.',
          params: paramsOf(path),
          body: {
            content: {
              'application/json': { schema: OpenInferenceRequestSchema },
              'application/octet-stream': {
                schema: Type.String({ contentMediaType: 'application/octet-stream' }),
              },
            },
          },
          response: {
            200: {
              description: 'Action chunks; with binary data after the JSON where they were asked for.',
              content: { 'application/json': { schema: OpenInferenceReplySchema } },
            },
            ...REFUSED,
          },
        },
        onRequest: () => bodyTurns.next(),
        preHandler: () => turns.next(),
        validatorCompiler: () => () => true,
        serializerCompiler: () => JSON.stringify,
      },
      async (request, reply) => {
        const { model, version } = request.params
        const policy = models.find({ name: model, version })
        const { request: asked } = bodyOf<TensorBody>(request)
        const peer = connections.peer(request.raw.socket)
        peer.work += 1
        const outputs = await inferTensors(policy, asked, {
          session: `${request.ip}:${request.socket.remotePort}`,
          robot: request.robot,
          key: request.key,
          gone: callerGone(request, reply),
          reached: () => {
            request.reachedService = true
          },
        }).finally(() => {
          peer.work -= 1
        })
        const { body, headerLength } = writeRestReply(policy.name, asked, outputs)
        if (headerLength === undefined) return reply.type('application/json').send(body)
        return reply.type('application/octet-stream').header(HEADER_LENGTH, headerLength).send(body)
      },
    )
  }
}

const told = (problem: ProblemDocument) => ({ error: errorText(problem) })

const described = (operation: string, suffix: string, summary: string): FastifySchema => ({
  operationId: `${operation}${suffix}`,
  summary: suffix ? `${summary}, by the model’s version` : summary,
  tags: ['open-inference'],
})

const paramsOf = (path: string) => {
  const model = Type.String({ description: 'name under which a policy is served' })
  const version = Type.String({ description: 'of the model; there is 1' })
  return path.includes(':version') ? Type.Object({ model, version }) : Type.Object({ model })
}

function serverRoutes(app: FastifyInstance, models: Models): void {
  app.get(
    '/',
    {
      schema: {
        ...described('serverMetadata', '', 'What this server is, for clients of the Open Inference Protocol'),
        description: 'Its name, its version, and the extensions of the protocol that it has.',
        response: { 200: { ...ServerMetadataSchema, description: 'What it is.' }, ...REFUSED },
      },
    },
    async () => SERVER_METADATA,
  )
  app.get(
    '/health/live',
    {
      config: { open: true },
      schema: {
        ...described('serverLive', '', 'The process lives'),
        description: 'As /healthz, for clients of the Open Inference Protocol.',
        response: {
          200: Type.Object({ live: Type.Boolean() }, { title: 'ServerLive', description: 'It lives.' }),
          ...REFUSED,
        },
      },
    },
    async () => ({ live: true }),
  )
  app.get(
    '/health/ready',
    {
      config: { open: true },
      schema: {
        ...described('serverReady', '', 'Every policy can answer'),
        description: 'As /readyz, for clients of the Open Inference Protocol.',
        response: {
          200: Type.Object(
            { ready: Type.Boolean() },
            { title: 'ServerReady', description: 'All of them can.' },
          ),
          ...REFUSED,
        },
      },
    },
    async (_request, reply) => {
      const { unready } = models
      return unready ? notReady(reply, unready) : { ready: true }
    },
  )
}

function modelRoutes(app: FastifyInstance, models: Models, path: string, suffix: string): void {
  app.get<{ Params: ModelParams }>(
    path,
    {
      schema: {
        ...described('modelMetadata', suffix, 'The tensors that a policy takes and gives'),
        description: 'Its inputs have the names of its observation.',
        params: paramsOf(path),
        response: { 200: { ...ModelMetadataSchema, description: 'What it takes and gives.' }, ...REFUSED },
      },
    },
    async ({ params: { model, version } }) => modelMetadata(models.find({ name: model, version })),
  )
  app.get<{ Params: ModelParams }>(
    `${path}/ready`,
    {
      config: { open: true },
      schema: {
        ...described('modelReady', suffix, 'This policy can answer'),
        description: 'Its engine is warm, and its self-test has passed.',
        params: paramsOf(path),
        response: {
          200: Type.Object(
            { name: Type.String(), ready: Type.Boolean() },
            { title: 'ModelReady', description: 'It can.' },
          ),
          ...REFUSED,
        },
      },
    },
    async ({ params: { model, version } }, reply) => {
      const { name, current } = models.find({ name: model, version })
      const { unready } = current.service
      return unready ? notReady(reply, unready) : { name, ready: true }
    },
  )
}

/** As at /readyz, no request was refused that somebody would look for: it is neither counted nor logged. */
const notReady = (reply: FastifyReply, unready: TurboPiError) =>
  reply.code(unready.status).send(told(problemOf(unready)))
