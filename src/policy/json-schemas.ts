import { EmbodimentSchema } from './embodiment.js'
import { ManifestSchema } from './loading/manifest.js'

const DIALECT = 'https://json-schema.org/draft/2020-12/schema'

/** What `$schema` of a policy.json names. */
export const POLICY_SCHEMA_ID = 'urn:turbo-pi:schema:policy:1'
/** What `$schema` of an embodiment's file names. */
export const EMBODIMENT_SCHEMA_ID = 'urn:turbo-pi:schema:embodiment:1'

/** The JSON schemas of the files that people write, by their names in docs/reference. */
export const jsonSchemas = () => ({
  'policy.schema.json': {
    $schema: DIALECT,
    $id: POLICY_SCHEMA_ID,
    title: 'policy.json of Turbo-Pi: how a policy directory is to be served',
    ...ManifestSchema,
  },
  'embodiment.schema.json': {
    $schema: DIALECT,
    $id: EMBODIMENT_SCHEMA_ID,
    title: 'Embodiment of Turbo-Pi: what a robot’s observation is and what its actions are',
    ...EmbodimentSchema,
  },
})
