/**
 * The network in plain float64, written from network §3 and for reading: no packing, no folding, nothing dropped. Masked
 * cameras and padding stay in the sequence and are masked, as in the official implementations. Shares no code with src/.
 */
import type { ModelConfig } from '../../src/families/pi0/config.js'

export type Weights = (name: string) => Float32Array
type Matrix = Float64Array[]

export interface ReferenceInput {
  /** u8 [size, size, 3] a slot, or null when masked. */
  images: (Uint8Array | null)[]
  /** With padding. */
  tokens: number[]
  tokenMask: boolean[]
  state: Float32Array
  /** [horizon][actionDim] */
  noise: number[][]
  steps: number
}

export interface ReferenceOutput {
  imageEmbeddings: Matrix[]
  /** [layer][kvHead][valid position][headDim] */
  keys: Matrix[][]
  values: Matrix[][]
  x: Matrix[]
  velocity: Matrix[]
  actions: Matrix
}

const PG = 'paligemma_with_expert.paligemma.'
const VT = `${PG}model.vision_tower.vision_model.`
const LM = `${PG}model.language_model.`
const EX = 'paligemma_with_expert.gemma_expert.model.'

const dot = (a: ArrayLike<number>, b: ArrayLike<number>, offset = 0) => {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[offset + i]!
  return sum
}
const gelu = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
const swish = (x: number) => x / (1 + Math.exp(-x))
const plus = (a: Matrix, b: Matrix) => a.map((row, i) => row.map((v, j) => v + b[i]![j]!))

/** y = x·Wᵀ + b */
function affine(x: Matrix, w: Float32Array, b?: Float32Array): Matrix {
  const inputs = x[0]!.length
  const outputs = w.length / inputs
  return x.map(row =>
    Float64Array.from({ length: outputs }, (_, o) => dot(row, w, o * inputs) + (b ? b[o]! : 0)),
  )
}

function softmaxAttention(
  q: Matrix,
  k: Matrix,
  v: Matrix,
  scale: number,
  sees: (i: number, j: number) => boolean,
) {
  return q.map((qi, i) => {
    const logits = k.map((kj, j) => (sees(i, j) ? dot(qi, kj) * scale : Number.NEGATIVE_INFINITY))
    const top = Math.max(...logits)
    const out = new Float64Array(v[0]!.length)
    if (top === Number.NEGATIVE_INFINITY) return out
    const weights = logits.map(l => Math.exp(l - top))
    const total = weights.reduce((a, b) => a + b)
    for (const [j, weight] of weights.entries())
      for (let c = 0; c < out.length; c++) out[c]! += (weight / total) * v[j]![c]!
    return out
  })
}

const head = (x: Matrix, h: number, size: number): Matrix => x.map(row => row.slice(h * size, (h + 1) * size))
const joinHeads = (heads: Matrix[]): Matrix =>
  heads[0]!.map((_, i) => Float64Array.from(heads.flatMap(one => [...one[i]!])))

function layerNorm(x: Matrix, w: Float32Array, b: Float32Array, eps: number): Matrix {
  return x.map(row => {
    const mean = row.reduce((a, v) => a + v, 0) / row.length
    const variance = row.reduce((a, v) => a + (v - mean) ** 2, 0) / row.length
    return row.map((v, i) => ((v - mean) / Math.sqrt(variance + eps)) * w[i]! + b[i]!)
  })
}

const rms = (x: Matrix, eps: number): Matrix =>
  x.map(row => {
    const scale = 1 / Math.sqrt(dot(row, row) / row.length + eps)
    return row.map(v => v * scale)
  })

function rope(x: Matrix, positions: number[], theta: number): Matrix {
  return x.map((row, p) => {
    const half = row.length / 2
    const out = new Float64Array(row.length)
    for (let i = 0; i < half; i++) {
      const angle = positions[p]! * theta ** ((-2 * i) / row.length)
      out[i] = row[i]! * Math.cos(angle) - row[half + i]! * Math.sin(angle)
      out[half + i] = row[half + i]! * Math.cos(angle) + row[i]! * Math.sin(angle)
    }
    return out
  })
}

function embedImage(image: Uint8Array, config: ModelConfig, w: Weights): Matrix {
  const { patch, imageSize, heads, width, depth, layerNormEps: eps } = config.vision
  const side = imageSize / patch
  const kernel = w(`${VT}embeddings.patch_embedding.weight`)
  const bias = w(`${VT}embeddings.patch_embedding.bias`)
  const table = w(`${VT}embeddings.position_embedding.weight`)
  let x: Matrix = Array.from({ length: side * side }, (_, t) => {
    const [py, px] = [Math.floor(t / side) * patch, (t % side) * patch]
    return Float64Array.from({ length: width }, (_, o) => {
      let sum = bias[o]! + table[t * width + o]!
      for (let c = 0; c < 3; c++)
        for (let r = 0; r < patch; r++)
          for (let k = 0; k < patch; k++) {
            const pixel = (image[((py + r) * imageSize + px + k) * 3 + c]! / 255) * 2 - 1
            sum += pixel * kernel[((o * 3 + c) * patch + r) * patch + k]!
          }
      return sum
    })
  })
  const headDim = width / heads
  for (let l = 0; l < depth; l++) {
    const layer = `${VT}encoder.layers.${l}.`
    const linear = (x: Matrix, name: string) =>
      affine(x, w(`${layer}${name}.weight`), w(`${layer}${name}.bias`))
    const norm = (x: Matrix, name: string) =>
      layerNorm(x, w(`${layer}${name}.weight`), w(`${layer}${name}.bias`), eps)
    const h = norm(x, 'layer_norm1')
    const [q, k, v] = ['q', 'k', 'v'].map(p => linear(h, `self_attn.${p}_proj`)) as [Matrix, Matrix, Matrix]
    const mixed = Array.from({ length: heads }, (_, i) =>
      softmaxAttention(
        head(q, i, headDim),
        head(k, i, headDim),
        head(v, i, headDim),
        headDim ** -0.5,
        () => true,
      ),
    )
    x = plus(x, linear(joinHeads(mixed), 'self_attn.out_proj'))
    const hidden = linear(norm(x, 'layer_norm2'), 'mlp.fc1').map(row => row.map(gelu))
    x = plus(x, linear(hidden, 'mlp.fc2'))
  }
  const y = layerNorm(x, w(`${VT}post_layernorm.weight`), w(`${VT}post_layernorm.bias`), eps)
  const projector = `${PG}model.multi_modal_projector.linear.`
  return affine(y, w(`${projector}weight`), w(`${projector}bias`))
}

function mlp(h: Matrix, layer: string, w: Weights): Matrix {
  const gate = affine(h, w(`${layer}mlp.gate_proj.weight`))
  const up = affine(h, w(`${layer}mlp.up_proj.weight`))
  const inner = gate.map((row, i) => row.map((g, j) => gelu(g) * up[i]![j]!))
  return affine(inner, w(`${layer}mlp.down_proj.weight`))
}

const onePlus = (x: Matrix, weight: Float32Array) => x.map(row => row.map((v, i) => v * (1 + weight[i]!)))

/** What every attention layer of both transformers has in common. */
function projectHeads(h: Matrix, layer: string, w: Weights, config: ModelConfig, positions: number[]) {
  const { heads, kvHeads, headDim } = config.prefix
  const split = (name: string, count: number, rotate: boolean) => {
    const all = affine(h, w(`${layer}self_attn.${name}_proj.weight`))
    return Array.from({ length: count }, (_, i) => {
      const one = head(all, i, headDim)
      return rotate ? rope(one, positions, config.ropeTheta) : one
    })
  }
  return { q: split('q', heads, true), k: split('k', kvHeads, true), v: split('v', kvHeads, false) }
}

function attendAll(
  q: Matrix[],
  k: Matrix[],
  v: Matrix[],
  config: ModelConfig,
  sees: (i: number, j: number) => boolean,
) {
  const { heads, kvHeads, headDim } = config.prefix
  return joinHeads(
    q.map((one, i) => {
      const shared = Math.floor(i / (heads / kvHeads))
      return softmaxAttention(one, k[shared]!, v[shared]!, headDim ** -0.5, sees)
    }),
  )
}

/** One observation from pixels to actions. */
export function referenceInference(input: ReferenceInput, config: ModelConfig, w: Weights): ReferenceOutput {
  const { imageSize, patch } = config.vision
  const perImage = (imageSize / patch) ** 2
  const width = config.prefix.width
  const black = new Uint8Array(imageSize * imageSize * 3)
  const imageEmbeddings = input.images.map(image => embedImage(image ?? black, config, w))
  const table = w(`${PG}lm_head.weight`)
  const words: Matrix = input.tokens.map(id =>
    Float64Array.from(table.subarray(id * width, (id + 1) * width), v => v * Math.sqrt(width)),
  )
  let x: Matrix = [...imageEmbeddings.flat(), ...words]
  const valid = [
    ...input.images.flatMap(image => new Array<boolean>(perImage).fill(image !== null)),
    ...input.tokenMask,
  ]
  let count = 0
  const positions = valid.map(ok => (ok ? ++count : count) - 1)

  const keys: Matrix[][] = []
  const values: Matrix[][] = []
  for (let l = 0; l < config.prefix.depth; l++) {
    const layer = `${LM}layers.${l}.`
    const h = onePlus(rms(x, config.rmsNormEps), w(`${layer}input_layernorm.weight`))
    const { q, k, v } = projectHeads(h, layer, w, config, positions)
    keys.push(k)
    values.push(v)
    const mixed = attendAll(q, k, v, config, (i, j) => valid[i]! && valid[j]!)
    x = plus(x, affine(mixed, w(`${layer}self_attn.o_proj.weight`)))
    const after = onePlus(rms(x, config.rmsNormEps), w(`${layer}post_attention_layernorm.weight`))
    x = plus(x, mlp(after, layer, w))
  }

  const output: ReferenceOutput = {
    imageEmbeddings,
    keys: keys.map(heads => heads.map(k => k.filter((_, p) => valid[p]))),
    values: values.map(heads => heads.map(v => v.filter((_, p) => valid[p]))),
    x: [],
    velocity: [],
    actions: [],
  }
  let sample: Matrix = input.noise.map(row => Float64Array.from(row))
  // The time is accumulated in float32, as the official sampler does; its drift is part of the result.
  const dt = Math.fround(-1 / input.steps)
  for (let time = 1; time >= -dt / 2; time = Math.fround(time + dt)) {
    const velocity = velocityOf(sample, time, input, config, w, keys, values, valid, count)
    output.x.push(sample)
    output.velocity.push(velocity)
    sample = sample.map((row, i) => row.map((v, j) => v + dt * velocity[i]![j]!))
  }
  return { ...output, actions: sample }
}

function velocityOf(
  sample: Matrix,
  time: number,
  input: ReferenceInput,
  config: ModelConfig,
  w: Weights,
  keys: Matrix[][],
  values: Matrix[][],
  valid: boolean[],
  validCount: number,
): Matrix {
  const { width } = config.expert
  const pi05 = config.modelType === 'pi05'
  const layerOf = (x: Matrix, name: string) => affine(x, w(`${name}.weight`), w(`${name}.bias`))
  const embedding = new Float64Array(width)
  for (let i = 0; i < width / 2; i++) {
    const period =
      config.timeMinPeriod * (config.timeMaxPeriod / config.timeMinPeriod) ** (i / (width / 2 - 1))
    embedding[i] = Math.sin((2 * Math.PI * time) / period)
    embedding[width / 2 + i] = Math.cos((2 * Math.PI * time) / period)
  }
  const actions = layerOf(sample, 'action_in_proj')
  let tokens = actions
  let condition: Matrix = []
  if (pi05) {
    const hidden = layerOf([embedding], 'time_mlp_in').map(row => row.map(swish))
    condition = layerOf(hidden, 'time_mlp_out').map(row => row.map(swish))
  } else {
    const joined = actions.map(row => Float64Array.from([...row, ...embedding]))
    const hidden = layerOf(joined, 'action_time_mlp_in').map(row => row.map(swish))
    const state = layerOf([Float64Array.from(input.state)], 'state_proj')
    tokens = [...state, ...layerOf(hidden, 'action_time_mlp_out')]
  }
  const norm = (x: Matrix, name: string): { y: Matrix; gate: (z: Matrix) => Matrix } => {
    const plain = rms(x, config.rmsNormEps)
    if (!pi05) return { y: onePlus(plain, w(`${name}.weight`)), gate: z => z }
    const m = layerOf(condition, `${name}.dense`)[0]!
    return {
      y: plain.map(row => row.map((v, i) => v * (1 + m[i]!) + m[width + i]!)),
      gate: z => z.map(row => row.map((v, i) => v * m[2 * width + i]!)),
    }
  }
  const positions = tokens.map((_, i) => validCount + i)
  const prefixLength = valid.length
  const sees = (i: number, j: number) => {
    if (j < prefixLength) return valid[j]!
    return pi05 || i > 0 || j === prefixLength
  }
  let x = tokens
  for (let l = 0; l < config.expert.depth; l++) {
    const layer = `${EX}layers.${l}.`
    const before = norm(x, `${layer}input_layernorm`)
    const { q, k, v } = projectHeads(before.y, layer, w, config, positions)
    const allKeys = k.map((own, i) => [...keys[l]![i]!, ...own])
    const allValues = v.map((own, i) => [...values[l]![i]!, ...own])
    const mixed = attendAll(q, allKeys, allValues, config, sees)
    x = plus(x, before.gate(affine(mixed, w(`${layer}self_attn.o_proj.weight`))))
    const after = norm(x, `${layer}post_attention_layernorm`)
    x = plus(x, after.gate(mlp(after.y, layer, w)))
  }
  const final = norm(x, `${EX}norm`).y
  return layerOf(final.slice(-sample.length), 'action_out_proj')
}
