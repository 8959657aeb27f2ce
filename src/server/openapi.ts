import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger'
import type { FastifySchema, RouteOptions } from 'fastify'
import { COOKIE } from '../routes/access/browser-sessions.js'
import { problemReply } from '../routes/problems.js'
import { withComponents } from './components.js'

const DESCRIPTION = `Action chunks from Pi0.5-class policies. The observation is that of the policy being served.

Every refusal is a problem document (RFC 9457) with a stable code. \`WS /stream\` and openpi's \`WS /\` are described by
\`/asyncapi.json\` and the guides.`

const TAGS = [
  { name: 'access', description: 'Keys and sessions' },
  { name: 'documents', description: 'What describes this server to programs' },
  { name: 'health', description: 'For load balancers, orchestrators and Prometheus' },
  { name: 'inference', description: 'Observations in, action chunks out' },
  { name: 'open-inference', description: 'The Open Inference Protocol: observations and chunks as tensors' },
  { name: 'policies', description: 'What is served, and its exchange' },
  { name: 'recordings', description: 'What a flight recorder keeps of robots' },
  { name: 'robots', description: 'Robots that a guard has stopped' },
]

const SECURITY_SCHEMES = {
  apiKey: {
    type: 'apiKey',
    in: 'header',
    name: 'authorization',
    description: '`Api-Key …`, as openpi’s client sends it',
  },
  bearer: { type: 'http', scheme: 'bearer', description: 'The same key as `Bearer …`' },
  session: {
    type: 'apiKey',
    in: 'cookie',
    name: COOKIE,
    description: 'What `POST /page/session` gives a browser in the place of a key',
  },
} as const

type Document = Record<string, unknown>

export interface OpenApiOptions {
  /** Path before every address, as callers see it; empty without a proxy. */
  basePath: string
  /** Whether this server asks for keys. */
  keyed: boolean
}

/** How @fastify/swagger makes the document from the schemas of the routes. */
export function openApiOptions({ basePath, keyed }: OpenApiOptions): FastifyDynamicSwaggerOptions {
  return {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Turbo-Pi',
        version: '1',
        description: DESCRIPTION,
        contact: { name: 'Turbo-Pi', url: 'https://github.com/turbo-pi/turbo-pi' },
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      servers: [{ url: basePath || '/', description: 'This server' }],
      tags: TAGS,
      components: { securitySchemes: SECURITY_SCHEMES },
      ...(keyed && { security: Object.keys(SECURITY_SCHEMES).map(scheme => ({ [scheme]: [] })) }),
    },
    convertConstToEnum: false,
    transform: ({ schema, url, route }) => ({ url, schema: described(schema, route.config, keyed) }),
    transformObject: document =>
      withComponents(('openapiObject' in document ? document.openapiObject : {}) as Document),
  }
}

/** What holds for every route: any may be refused, and some are answered without a key. */
function described(schema: FastifySchema, config: RouteOptions['config'], keyed: boolean): FastifySchema {
  if (!schema || schema.hide) return schema
  const { response } = schema as { response?: object }
  return {
    ...schema,
    response: {
      '4xx': problemReply('Refused, for the reason that the problem document names.'),
      ...response,
    },
    ...(keyed && config?.open && { security: [] }),
  }
}
