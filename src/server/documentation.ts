import { readFileSync } from 'node:fs'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { type Served, sameShape } from '../service/served.js'
import { type OpenApiOptions, openApiOptions } from './openapi.js'

type Document = Record<string, unknown>

/** Of the page, beside src/server and dist/server alike. */
const ICON = readFileSync(new URL('../page/icon.svg', import.meta.url))
const icon = { type: 'image/svg+xml', content: ICON }

/**
 * GET /openapi.json and, for people, /docs: the OpenAPI document of the policies being served. `remake` makes the same server once more: its routes tell
 * the document after a policy was exchanged for one that takes or gives something else.
 */
export async function documentation(
  app: FastifyInstance,
  policies: readonly Served[],
  options: OpenApiOptions,
  remake: () => Promise<FastifyInstance>,
): Promise<void> {
  const { basePath } = options
  await app.register(swagger, openApiOptions(options))
  const described = policies.map(served => served.current)
  let remade: Document | undefined
  const current = () => remade ?? (app.swagger() as unknown as Document)
  app.get(
    '/openapi.json',
    {
      schema: {
        operationId: 'openApi',
        summary: 'OpenAPI description of these routes',
        description: 'For the policies being served: clients can be generated from it.',
        tags: ['documents'],
        response: {
          200: Type.Object(
            { openapi: Type.String() },
            { additionalProperties: true, description: 'A document of OpenAPI 3.1.' },
          ),
        },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async () => current(),
  )
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    ...(basePath && { indexPrefix: basePath }),
    staticCSP:
      "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    theme: { title: 'Turbo-Pi', favicon: [{ ...icon, filename: 'icon.svg', rel: 'icon', sizes: 'any' }] },
    logo: icon,
    transformSpecification: current,
    transformSpecificationClone: false,
  })
  for (const [i, served] of policies.entries()) {
    const stop = served.onSwap(async serving => {
      const before = described[i]!
      described[i] = serving
      if (sameShape(before.service.metadata(), serving.service.metadata())) return
      try {
        const other = await remake()
        await other.ready()
        remade = other.swagger() as unknown as Document
        await other.close()
      } catch (error) {
        app.log.error({ err: error }, 'The documents of the exchanged policy could not be made')
      }
    })
    app.addHook('onClose', async () => {
      stop()
    })
  }
}
