import { type TSchema, Type } from 'typebox'

const closed = { additionalProperties: false } as const

const Parameters = Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()]), {
  description: 'by their names',
})
const Shape = Type.Array(Type.Integer({ minimum: 0 }), { maxItems: 8 })
const Datatype = Type.String({ maxLength: 16, description: 'such as UINT8, FP32 or BYTES' })
const BinarySize = Type.Integer({ minimum: 0, description: 'bytes of this tensor after the JSON' })
const Data = Type.Array(Type.Unknown(), { description: 'elements in C order, nested or not' })
const Id = Type.String({ maxLength: 1024, description: 'given back with the answer' })

/** JSON of POST /v2/models/NAME/infer: all of the body, or what stands before its binary data. */
export const OpenInferenceRequestSchema = Type.Object(
  {
    id: Type.Optional(Id),
    parameters: Type.Optional({
      ...Parameters,
      description:
        'num_steps, seed and deadline_ms as in POST /infer; timeout in microseconds; binary_data_output',
    } as TSchema),
    inputs: Type.Array(
      Type.Object(
        {
          name: Type.String(),
          datatype: Datatype,
          shape: Shape,
          parameters: Type.Optional(
            Type.Object(
              { binary_data_size: Type.Optional(BinarySize) },
              { ...closed, title: 'InputParameters' },
            ),
          ),
          data: Type.Optional(Data),
        },
        { ...closed, title: 'InputTensor' },
      ),
      { minItems: 1, maxItems: 64, description: 'each tensor that the model’s metadata names, by its name' },
    ),
    outputs: Type.Optional(
      Type.Array(
        Type.Object(
          {
            name: Type.String({ description: 'actions or report' }),
            parameters: Type.Optional(
              Type.Object(
                { binary_data: Type.Optional(Type.Boolean({ description: 'after the JSON of the answer' })) },
                { ...closed, title: 'OutputParameters' },
              ),
            ),
          },
          { ...closed, title: 'RequestedOutput' },
        ),
        { maxItems: 64, description: 'that are wanted; all when there are none' },
      ),
    ),
  },
  {
    ...closed,
    title: 'OpenInferenceRequest',
    description: 'observations as tensors, and options as parameters',
  },
)

export const OpenInferenceReplySchema = Type.Object(
  {
    model_name: Type.String(),
    model_version: Type.String(),
    id: Type.Optional(Id),
    outputs: Type.Array(
      Type.Object(
        {
          name: Type.String(),
          datatype: Datatype,
          shape: Shape,
          parameters: Type.Optional(Type.Object({ binary_data_size: BinarySize }, { title: 'OutputSize' })),
          data: Type.Optional(Data),
        },
        { title: 'OutputTensor' },
      ),
    ),
  },
  { title: 'OpenInferenceReply', description: 'action chunks as tensors' },
)

const Tensors = Type.Array(
  Type.Object(
    {
      name: Type.String(),
      datatype: Datatype,
      shape: Type.Array(Type.Integer({ minimum: -1 }), {
        description: '-1 where it differs from request to request; first the number of observations',
      }),
    },
    { title: 'TensorMetadata' },
  ),
)

export const ModelMetadataSchema = Type.Object(
  {
    name: Type.String(),
    versions: Type.Array(Type.String()),
    platform: Type.String(),
    inputs: Tensors,
    outputs: Tensors,
  },
  { title: 'ModelMetadata' },
)

export const ServerMetadataSchema = Type.Object(
  { name: Type.String(), version: Type.String(), extensions: Type.Array(Type.String()) },
  { title: 'ServerMetadata' },
)

export const OpenInferenceErrorSchema = Type.Object(
  { error: Type.String({ description: 'the code of docs/reference/errors.md, and what is wrong' }) },
  { title: 'OpenInferenceError' },
)
