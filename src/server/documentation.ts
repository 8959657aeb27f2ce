import { readFileSync } from 'node:fs'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import { type Served, sameShape } from '../service/served.js'

/** Of the page, beside src/server and dist/server alike. */
const ICON = readFileSync(new URL('../page/icon.svg', import.meta.url))
const icon = { type: 'image/svg+xml', content: ICON }

/**
 * GET /docs: the OpenAPI document of the policies being served. `remake` makes the same server once more: its routes tell
 * the document after a policy was exchanged for one that takes or gives something else.
 */
export async function documentation(
  app: FastifyInstance,
  policies: readonly Served[],
  { basePath }: { basePath: string },
  remake: () => Promise<FastifyInstance>,
): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Turbo-Pi',
        version: '1',
        description:
          'Action chunks from Pi0.5-class policies. The observation is that of the policy being served.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      ...(basePath && { servers: [{ url: basePath }] }),
      components: {
        securitySchemes: {
          apiKey: {
            type: 'apiKey',
            in: 'header',
            name: 'authorization',
            description: '`Api-Key …` or `Bearer …`',
          },
        },
      },
    },
    convertConstToEnum: false,
  })
  const described = policies.map(served => served.current)
  let remade: Record<string, unknown> | undefined
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    ...(basePath && { indexPrefix: basePath }),
    staticCSP:
      "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    theme: { title: 'Turbo-Pi', favicon: [{ ...icon, filename: 'icon.svg', rel: 'icon', sizes: 'any' }] },
    logo: icon,
    transformSpecification: document => remade ?? (document as Record<string, unknown>),
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
        remade = other.swagger() as unknown as Record<string, unknown>
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
