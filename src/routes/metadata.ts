import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { inferRequestSchema } from '../contract/schemas.js'
import type { PolicyService } from '../service/service.js'

/** GET /metadata: what this server serves, and the schema of the observation that it takes. */
export function metadataRoute(app: FastifyInstance, service: PolicyService): void {
  app.get(
    '/metadata',
    {
      schema: {
        summary: 'What this server serves',
        tags: ['inference'],
        response: { 200: Type.Object({ policy: Type.String() }, { additionalProperties: true }) },
      },
    },
    async () => {
      const metadata = service.metadata()
      return {
        ...metadata,
        observation_schema: inferRequestSchema(metadata.observation, metadata.shape, 'json'),
      }
    },
  )
}
