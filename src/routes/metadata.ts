import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import type { Metadata } from '../contract/page.js'
import { inferRequestSchema } from '../contract/schemas.js'
import type { Served } from '../service/served.js'

/** GET /metadata: what is served, and the schema of the observation that it takes. */
export function metadataRoute(app: FastifyInstance, served: Served): void {
  app.get(
    '/metadata',
    {
      schema: {
        summary: 'What this server serves',
        tags: ['inference'],
        response: { 200: Type.Object({ policy: Type.String() }, { additionalProperties: true }) },
      },
    },
    async (): Promise<Metadata> => {
      const metadata = served.current.service.metadata()
      return {
        ...metadata,
        observation_schema: inferRequestSchema(metadata.observation, metadata.shape, 'json'),
      }
    },
  )
}
