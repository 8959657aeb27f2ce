import type { FastifyInstance } from 'fastify'
import { MetadataSchema } from '../contract/metadata.js'
import type { Metadata } from '../contract/page.js'
import { inferRequestSchema } from '../contract/schemas.js'
import type { Served } from '../service/served.js'

const JSON_METADATA = { 'application/json': { schema: MetadataSchema } }

/** GET /metadata: what is served, and the schema of the observation that it takes. */
export function metadataRoute(app: FastifyInstance, served: Served): void {
  app.get(
    '/metadata',
    {
      schema: {
        operationId: 'metadata',
        summary: 'What this server serves',
        description:
          'The policy, the observation that it takes, the actions that it gives, and what computes them.',
        tags: ['inference'],
        response: { 200: { description: 'What is served now.', content: JSON_METADATA } },
      },
      // The schema describes the answer; it is not to shorten it.
      serializerCompiler: () => JSON.stringify,
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
