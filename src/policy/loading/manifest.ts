import { type Static, Type } from 'typebox'
import { compileCheck } from '../../contract/validate.js'
import { TurboPiError } from '../../errors.js'
import { readChecked } from '../checked-json.js'
import { type Embodiment, EmbodimentSchema, JointsSchema, SchemaReference } from '../embodiment.js'
import { GUARD_MODES } from '../guard/settings.js'

const File = (description: string) =>
  Type.String({ minLength: 1, description: `${description}; relative to the folder` })

/** `policy.json`: how a policy directory is to be served. */
export const ManifestSchema = Type.Object(
  {
    $schema: SchemaReference,
    format: Type.Literal('turbo-pi.policy/1'),
    name: Type.String({ minLength: 1, maxLength: 200 }),
    config: Type.Optional(
      Type.String({ description: 'preset, for example pi05_libero; the fields below refine it' }),
    ),
    embodiment: Type.Optional(
      Type.Union([Type.String(), EmbodimentSchema], {
        description: 'libero, droid, aloha, a JSON descriptor’s file name, or the descriptor itself',
      }),
    ),
    joints: Type.Optional(JointsSchema),
    modelConfig: Type.Optional(File('config.json by default')),
    weights: Type.Optional(File('model.safetensors by default; or the index of a sharded checkpoint')),
    tokenizer: Type.Optional(File('SentencePiece .model or tokenizer.json')),
    normStats: Type.Optional(File('norm_stats.json')),
    normalisation: Type.Optional(Type.Union([Type.Literal('quantile'), Type.Literal('zscore')])),
    discreteState: Type.Optional(
      Type.Boolean({ description: 'the state is written into the prompt (pi0.5 alone)' }),
    ),
    paddedPromptState: Type.Optional(
      Type.Boolean({
        description:
          'LeRobot pi05 checkpoints trained before March 2026: the prompt holds the state padded to 32',
      }),
    ),
    actionHorizon: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
    defaultSteps: Type.Optional(Type.Integer({ minimum: 1, maximum: 50 })),
    defaultPrompt: Type.Optional(Type.String()),
    guard: Type.Optional(
      Type.Object(
        {
          mode: Type.Optional(Type.Union(GUARD_MODES.map(mode => Type.Literal(mode)))),
          margin: Type.Optional(Type.Number({ minimum: 0, description: 'share of q99 − q01' })),
          stateMargin: Type.Optional(Type.Number({ minimum: 0, description: 'the same for the state' })),
        },
        { additionalProperties: false },
      ),
    ),
    metadata: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    digests: Type.Optional(
      Type.Record(Type.String(), Type.String(), { description: 'file to its SHA-256 in hexadecimal' }),
    ),
  },
  { additionalProperties: false },
)

export type Manifest = Static<typeof ManifestSchema>

/** The embodiment with the joints that a policy.json gives to one that has none. Throws POLICY_INVALID for two lists. */
export function withJoints(embodiment: Embodiment, { joints }: Partial<Manifest> = {}): Embodiment {
  if (!joints) return embodiment
  if (!embodiment.joints) return { ...embodiment, joints }
  throw new TurboPiError(
    'POLICY_INVALID',
    `policy.json and embodiment ${embodiment.name} both have "joints"; leave one of the two lists out.`,
  )
}

const checkSchema = compileCheck(ManifestSchema, 'POLICY_INVALID')

/** Reads a policy.json. Throws POLICY_INVALID with the file and field. */
export function readManifest(path: string): Manifest {
  return readChecked(path, checkSchema)
}
