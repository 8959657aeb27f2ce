import type { FloatType } from './graph.js'

/** How a matrix product is computed: in the float type of its activations, or from integers of 8 bits. */
export type ProductType = 'float' | 'int8'

/** What a kind of tensor may differ by from float32: at most, and on average where that is asked. */
export interface Tolerance {
  readonly max: number
  readonly mean?: number
}

/**
 * What is computed in which type. Norms, RoPE, softmax, the residual stream, the first and last projections and the
 * sampler are float32 islands in every arithmetic.
 */
export interface Arithmetic {
  /** Float type of products, of the weights that they read, and of what the graphs hand each other. */
  readonly activations: FloatType
  /** How the projections inside the layers of a graph are computed; 'float' for graphs that are not named. */
  readonly projections: Readonly<Record<string, ProductType>>
  readonly tolerance: {
    /** Of normalised actions, for the gate of a GPU backend: 99 of 100 values within `max`, and the mean error. */
    readonly gate: Required<Tolerance>
    /** By kind of tensor, for golden cases; kinds that are not named are not compared. */
    readonly golden: Readonly<Record<string, Tolerance>> & { readonly actions: Tolerance }
  }
}

/** What 16 and 8 bits may differ by: openpi's own bfloat16 differs as much (docs/reference/precision.md). */
export const REDUCED_TOLERANCE = { max: 0.05, mean: 0.01 } as const

const REDUCED: Arithmetic['tolerance'] = {
  gate: REDUCED_TOLERANCE,
  golden: { v_t: REDUCED_TOLERANCE, x_t: REDUCED_TOLERANCE, actions: REDUCED_TOLERANCE },
}

const EXACT: Arithmetic['tolerance'] = {
  // A GPU multiplies float32 in TF32, which has the precision of float16.
  gate: REDUCED_TOLERANCE,
  golden: {
    image_embed: { max: 2e-4 },
    prefix_k: { max: 2e-4 },
    prefix_v: { max: 2e-4 },
    v_t: { max: 5e-5 },
    x_t: { max: 5e-5 },
    actions: { max: 5e-5 },
  },
}

/** One row a precision; a new one is a row, its product in the blocks, and the backends that name it. */
export const ARITHMETICS = {
  fp32: { activations: 'float32', projections: {}, tolerance: EXACT },
  bf16: { activations: 'bfloat16', projections: {}, tolerance: REDUCED },
  fp16: { activations: 'float16', projections: {}, tolerance: REDUCED },
  int8: {
    activations: 'float32',
    projections: { vision: 'int8', prefix: 'int8' },
    tolerance: REDUCED,
  },
} as const satisfies Record<string, Arithmetic>

export type Precision = keyof typeof ARITHMETICS

export const PRECISIONS = Object.keys(ARITHMETICS) as readonly Precision[]

/** How the projections inside the layers of a graph are computed. */
export const productOf = (precision: Precision, graph: string): ProductType =>
  (ARITHMETICS[precision] as Arithmetic).projections[graph] ?? 'float'
