import type { Static } from 'typebox'
import { TurboPiError } from '../../errors.js'
import { decodeJson } from '../json.js'
import { shown } from '../limits.js'
import { compileCheck } from '../validate.js'
import { type InputTensor, MODEL_VERSION, type OpenInferenceRequest, type OutputTensor } from './request.js'
import { OpenInferenceRequestSchema } from './schemas.js'

/** Header with the bytes of the JSON in a body that goes on with binary data. */
export const HEADER_LENGTH = 'inference-header-content-length'

const BINARY_OUTPUT = 'binary_data_output'

const checkRequest = compileCheck(OpenInferenceRequestSchema, 'BODY_MALFORMED')

/** A request over HTTP, and which of its outputs are wanted as binary data. */
export interface RestRequest extends OpenInferenceRequest {
  readonly binary: (output: string) => boolean
}

const malformed = (detail: string) => new TurboPiError('BODY_MALFORMED', detail)

/**
 * Takes a body apart: JSON, and as many bytes after it as its tensors name. `headerLength` is the header of that name, which
 * counts what is left when a compressed body has been inflated. Throws BODY_MALFORMED.
 */
export function readRestRequest(body: Uint8Array, headerLength: string | undefined): RestRequest {
  const length = lengthOf(headerLength, body.byteLength)
  const value = decodeJson(body.subarray(0, length))
  checkRequest(value)
  const request = value as Static<typeof OpenInferenceRequestSchema>
  const { id, inputs, outputs = [] } = request
  const parameters = new Map(
    Object.entries((request.parameters ?? {}) as Record<string, string | number | boolean>),
  )
  const allBinary = parameters.get(BINARY_OUTPUT) ?? false
  if (typeof allBinary !== 'boolean')
    throw malformed(`The parameter ${BINARY_OUTPUT} must be true or false, got ${shown(`${allBinary}`)}.`)
  parameters.delete(BINARY_OUTPUT)
  const binary = new Map(outputs.map(output => [output.name, output.parameters?.binary_data]))
  return {
    id,
    parameters,
    inputs: tensorsOf(inputs, body.subarray(length)),
    outputs: outputs.map(({ name }) => name),
    binary: name => binary.get(name) ?? allBinary,
  }
}

function lengthOf(header: string | undefined, all: number): number {
  if (header === undefined) return all
  const length = /^\d{1,15}$/.test(header) ? Number(header) : 0
  if (length < 1 || length > all)
    throw malformed(
      `The header ${HEADER_LENGTH} must be the bytes of the JSON, 1 to the ${all} of the (inflated) body; got ${shown(header)}.`,
    )
  return length
}

function tensorsOf(
  inputs: Static<typeof OpenInferenceRequestSchema>['inputs'],
  binary: Uint8Array,
): InputTensor[] {
  let at = 0
  const tensors = inputs.map(({ name, datatype, shape, parameters, data }) => {
    const size = parameters?.binary_data_size
    if ((size === undefined) === (data === undefined))
      throw malformed(`The tensor ${shown(name)} must have either data or the parameter binary_data_size.`)
    if (size === undefined) return { name, datatype, shape, data: data! }
    const bytes = binary.subarray(at, at + size)
    at += size
    return { name, datatype, shape, data: bytes }
  })
  if (at !== binary.byteLength)
    throw malformed(
      `The tensors name ${at} bytes after the JSON (binary_data_size), and the body has ${binary.byteLength}.`,
    )
  return tensors
}

/** An answer: JSON, and `headerLength`, its bytes, where binary data follow it. */
export function writeRestReply(
  model: string,
  { id, binary }: Pick<RestRequest, 'id' | 'binary'>,
  outputs: readonly OutputTensor[],
): { body: Buffer; headerLength: number | undefined } {
  const parts: Uint8Array[] = []
  const json = Buffer.from(
    JSON.stringify({
      model_name: model,
      model_version: MODEL_VERSION,
      ...(id !== undefined && { id }),
      outputs: outputs.map(({ name, datatype, shape, bytes, values }) => {
        if (!binary(name)) return { name, datatype, shape, data: values() }
        parts.push(bytes)
        return { name, datatype, shape, parameters: { binary_data_size: bytes.byteLength } }
      }),
    }),
  )
  if (parts.length === 0) return { body: json, headerLength: undefined }
  return { body: Buffer.concat([json, ...parts]), headerLength: json.byteLength }
}
