/** The one version of every model that is served. */
export const MODEL_VERSION = '1'

export type ParameterValue = string | number | boolean
export type Parameters = ReadonlyMap<string, ParameterValue>

/** A tensor as it came: nothing of it has been looked at. */
export interface InputTensor {
  readonly name: string
  readonly datatype: string
  readonly shape: readonly number[]
  /**
   * Its bytes in C order, little-endian, each element of BYTES after its length in four bytes; or its elements one by one,
   * nested or not.
   */
  readonly data: Uint8Array | readonly unknown[]
}

/** A request for an inference of the Open Inference Protocol, whatever wire it came over. */
export interface OpenInferenceRequest {
  /** The caller's, which the answer repeats. */
  readonly id: string | undefined
  readonly parameters: Parameters
  readonly inputs: readonly InputTensor[]
  /** Names of the outputs that are wanted; none means all. */
  readonly outputs: readonly string[]
}

/** A tensor of an answer. */
export interface OutputTensor {
  readonly name: string
  readonly datatype: string
  readonly shape: readonly number[]
  /** As InputTensor has it. */
  readonly bytes: Uint8Array
  /** Its elements for JSON. */
  readonly values: () => readonly (number | string)[]
}
