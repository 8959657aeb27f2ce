import type { FloatType } from './graph.js'

/**
 * How a matrix product is computed: in the float type of its activations, from integers of 8 bits, from activations and
 * weights in 8-bit floats, or from weights alone in 8-bit floats.
 */
export type ProductType = 'float' | 'int8' | 'fp8' | 'fp8Weights'

/**
 * The projections inside a layer: queries (in the vision tower with keys and values), keys and values, the attention's
 * output, what enters the MLP, what leaves it.
 */
export type Place = 'q' | 'kv' | 'o' | 'up' | 'down'

/** How each is computed; 'float' for those that are not named. */
export type Products = Readonly<Partial<Record<Place, ProductType>>>

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
  /** How the projections inside the layers of a graph are computed; in float for graphs that are not named. */
  readonly projections: Readonly<Record<string, Products>>
  readonly tolerance: {
    /** Of normalised actions, for the gate of a GPU backend: 99 of 100 values within `max`, and the mean error. */
    readonly gate: Required<Tolerance>
    /** By kind of tensor, for golden cases; kinds that are not named are not compared. */
    readonly golden: Readonly<Record<string, Tolerance>> & { readonly actions: Tolerance }
  }
}

/** What 16 and 8 bits may differ by: openpi's own bfloat16 differs as much (docs/reference/precision.md). */
export const REDUCED_TOLERANCE = { max: 0.05, mean: 0.01 } as const

const within = (limit: Required<Tolerance>): Arithmetic['tolerance'] => ({
  gate: limit,
  golden: { v_t: limit, x_t: limit, actions: limit, actions_openpi_grid: limit },
})

const REDUCED = within(REDUCED_TOLERANCE)

/** What 8-bit floats may differ by from float32 (docs/reference/precision.md). */
const EIGHT_BITS = { max: 0.2, mean: 0.04 } as const

/** The same of velocities, of which a sampler adds up several. */
const EIGHT_BITS_OF_A_STEP = { max: 0.25, mean: 0.05 } as const

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
    v_guided: { max: 2e-4 },
    actions_openpi_grid: { max: 5e-5 },
  },
}

/** One row a precision; a new one is a row, its product in the blocks, and the backends that name it. */
export const ARITHMETICS = {
  fp32: { activations: 'float32', projections: {}, tolerance: EXACT },
  bf16: { activations: 'bfloat16', projections: {}, tolerance: REDUCED },
  fp16: { activations: 'float16', projections: {}, tolerance: REDUCED },
  int8: {
    activations: 'float32',
    projections: {
      vision: { q: 'int8', o: 'int8', up: 'int8', down: 'int8' },
      // Keys and values are few and every denoise step reads them again: they stay exact.
      prefix: { q: 'int8', o: 'int8', up: 'int8', down: 'int8' },
    },
    tolerance: REDUCED,
  },
  fp8: {
    activations: 'bfloat16',
    // The rest would gain less time than it costs in error (docs/reference/fp8.md).
    projections: {
      prefix: { up: 'fp8', down: 'fp8' },
      denoise: { up: 'fp8Weights', down: 'fp8Weights' },
    },
    tolerance: {
      gate: EIGHT_BITS,
      golden: { ...within(EIGHT_BITS).golden, v_t: EIGHT_BITS_OF_A_STEP },
    },
  },
} as const satisfies Record<string, Arithmetic>

export type Precision = keyof typeof ARITHMETICS

export const PRECISIONS = Object.keys(ARITHMETICS) as readonly Precision[]

/** How the projections inside the layers of a graph are computed. */
export const productsOf = (precision: Precision, graph: string): Products =>
  (ARITHMETICS[precision] as Arithmetic).projections[graph] ?? {}
