import { reasonOf, TurboPiError } from '../../errors.js'
import { invalid } from '../fields.js'
import { shown, shownNames } from '../limits.js'
import { countOf } from '../ndarray.js'
import { NdArray } from '../numpy.js'
import { pointerTo } from '../validate.js'
import { bytesOfNumbers, DATATYPES } from './datatypes.js'
import type { InputTensor, OpenInferenceRequest, Parameters } from './request.js'
import { NOISE } from './signature.js'

/** Observations that one request may carry. */
export const MOST_OBSERVATIONS = 64
const MOST_DIMENSIONS = 8

/** Parameters of a request, by the option of POST /infer that each one is. */
const OPTIONS = ['num_steps', 'seed', 'deadline_ms'] as const
/** Triton's own: microseconds that the request may take. */
const TIMEOUT = 'timeout'

/** A body of POST /infer, as MessagePack carries it. */
type Body = Record<string, unknown>

/**
 * The observations of a request: bodies as POST /infer takes them, for the same parser. `names` are those that the policy
 * takes. Counts, shapes and lengths are looked at before anything is converted; what the tensors mean is the parser's to check.
 * Throws OBSERVATION_INVALID and OPTIONS_INVALID.
 */
export function observationsOf(
  { inputs, parameters }: Pick<OpenInferenceRequest, 'inputs' | 'parameters'>,
  names: readonly string[],
): Body[] {
  const known = [...names, NOISE]
  const options = optionsOf(parameters)
  for (const [i, { name }] of inputs.entries()) {
    if (!known.includes(name))
      throw wrong(name, `is no tensor of this policy (it takes ${shownNames(known)})`)
    if (inputs.findIndex(other => other.name === name) !== i) throw wrong(name, 'is given twice')
  }
  const [first] = inputs
  if (!first) throw new TurboPiError('OBSERVATION_INVALID', `inputs is empty; send ${shownNames(names)}.`)
  for (const input of inputs) requireShape(input, first)
  for (const input of inputs) requireLength(input)
  const bodies: Body[] = Array.from({ length: first.shape[0]! }, () => ({ options: { ...options } }))
  for (const input of inputs) {
    const row = rowsOf(input)
    for (const [i, body] of bodies.entries())
      if (input.name === NOISE) (body['options'] as Body)[NOISE] = row(i)
      else body[input.name] = row(i)
  }
  return bodies
}

function optionsOf(parameters: Parameters): Body {
  const options: Body = {}
  for (const [name, value] of parameters) {
    if ((OPTIONS as readonly string[]).includes(name)) options[name] = value
    else if (name !== TIMEOUT)
      throw refusedParameter(name, `is not one that is known (it takes ${[...OPTIONS, TIMEOUT].join(', ')})`)
  }
  const timeout = parameters.get(TIMEOUT)
  if (timeout === undefined) return options
  if (options['deadline_ms'] !== undefined)
    throw refusedParameter(TIMEOUT, 'and deadline_ms exclude each other; give one of them')
  if (typeof timeout !== 'number' || !(timeout > 0))
    throw refusedParameter(TIMEOUT, `must be microseconds above 0, got ${shown(JSON.stringify(timeout))}`)
  return { ...options, deadline_ms: timeout / 1000 }
}

/** The first dimension counts observations, of which each tensor has as many as `first`. */
function requireShape({ name, datatype, shape }: InputTensor, first: InputTensor): void {
  if (datatype !== 'BYTES' && !Object.hasOwn(DATATYPES, datatype))
    throw wrong(name, `has datatype ${shown(datatype)}; it takes BYTES, ${Object.keys(DATATYPES).join(', ')}`)
  const sized = shape.every(side => Number.isSafeInteger(side) && side >= 0)
  if (shape.length < 1 || shape.length > MOST_DIMENSIONS || !sized || !Number.isSafeInteger(countOf(shape)))
    throw wrong(
      name,
      `has shape [${shown(shape.join(', '))}]; it takes 1 to ${MOST_DIMENSIONS} dimensions, first the number of observations`,
    )
  const [count = 0] = shape
  if (count < 1 || count > MOST_OBSERVATIONS)
    throw wrong(name, `holds ${count} observations; a request takes 1 to ${MOST_OBSERVATIONS}`)
  if (count !== first.shape[0])
    throw wrong(
      name,
      `holds ${count} observations, and ${first.name} ${first.shape[0]}; give as many of each`,
    )
  if (datatype === 'BYTES' && countOf(shape) !== count)
    throw wrong(name, `has shape [${shape.join(', ')}]; BYTES takes one element an observation, [${count}]`)
}

/** That there is as much data as the shape says. */
function requireLength({ name, datatype, shape, data }: InputTensor): void {
  const count = countOf(shape)
  if (!(data instanceof Uint8Array)) {
    // Nested lists have been counted as values of their message.
    const given = data.flat(MOST_DIMENSIONS).length
    if (given !== count) throw wrong(name, `must hold ${count} elements for its shape, got ${given}`)
  } else if (datatype !== 'BYTES') {
    const { size } = DATATYPES[datatype]!
    if (data.byteLength !== count * size)
      throw wrong(name, `must hold ${count} × ${size} bytes for its shape, got ${data.byteLength}`)
  }
}

/** Gives the part of each observation. */
function rowsOf({ name, datatype, shape, data }: InputTensor): (row: number) => unknown {
  if (datatype === 'BYTES') {
    const elements = data instanceof Uint8Array ? elementsOf(name, data, shape[0]!) : textsOf(name, data)
    return row => elements[row]
  }
  const type = DATATYPES[datatype]!
  let bytes: Uint8Array
  try {
    bytes = data instanceof Uint8Array ? data : bytesOfNumbers(data.flat(MOST_DIMENSIONS), type)
  } catch (error) {
    throw wrong(name, `of datatype ${datatype} ${reasonOf(error)}`)
  }
  const rest = shape.slice(1)
  const length = countOf(rest) * type.size
  return row => new NdArray(type.dtype, rest, bytes.subarray(row * length, (row + 1) * length))
}

/** Elements of BYTES, each after its length: four bytes, little-endian. */
function elementsOf(name: string, bytes: Uint8Array, count: number): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const elements: Uint8Array[] = []
  let at = 0
  for (let i = 0; i < count; i++) {
    const length = at + 4 <= bytes.byteLength ? view.getUint32(at, true) : Number.POSITIVE_INFINITY
    const end = at + 4 + length
    if (end > bytes.byteLength)
      throw wrong(name, `ends within element ${i} of ${count}: each has its length in four bytes before it`)
    elements.push(bytes.subarray(at + 4, end))
    at = end
  }
  if (at !== bytes.byteLength)
    throw wrong(name, `has ${bytes.byteLength - at} bytes after its ${count} elements`)
  return elements
}

/** Of JSON, texts: a picture's file as base64. */
function textsOf(name: string, data: readonly unknown[]): (string | Uint8Array)[] {
  const texts = data.flat(MOST_DIMENSIONS)
  if (!texts.every(text => typeof text === 'string' || text instanceof Uint8Array))
    throw wrong(name, 'of datatype BYTES must hold texts')
  return texts as (string | Uint8Array)[]
}

function wrong(name: string, detail: string): TurboPiError {
  return invalid(pointerTo(shown(name)), detail)
}

const refusedParameter = (name: string, detail: string) =>
  new TurboPiError('OPTIONS_INVALID', `The parameter ${shown(name)} ${detail}.`, {
    fields: [{ pointer: pointerTo('parameters', shown(name)), detail }],
  })
