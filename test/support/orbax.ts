import { cpSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Safetensors } from '../../src/storage/safetensors.js'
import { golden } from './checkpoint.js'

export const orbax = (name: string) => golden(join('orbax', name))

/** A leaf's or tensor's digest in the index files. */
export interface Digest {
  dtype: string
  shape: number[]
  sha256: string
}

interface Index {
  jax_leaves: Record<string, Digest>
  pytorch_float32?: Record<string, Digest>
  pytorch_bfloat16?: Record<string, Digest>
}

const json = <T>(path: string) => JSON.parse(readFileSync(path, 'utf8')) as T

/** The digests of a stored checkpoint, its own or those of the one that it shares its weights with. */
export function indexOf(name: string): Index {
  const same = json<Record<string, string>>(orbax('index/same_as.json'))
  return json(orbax(`index/${same[name] ?? name}.json`))
}

export interface Recipe {
  name: string
  base: string
  file: string
  op: 'delete' | 'truncate' | 'flip'
  bytes_kept: number
  offset: number
  bit: number
}

export const recipes = () => json<{ recipes: Recipe[] }>(orbax('damaged/recipes.json')).recipes

/** A copy of a stored checkpoint in an empty folder, damaged as the recipe says. */
export function damagedCopy(folder: string, recipe: Recipe): string {
  const directory = join(folder, recipe.name)
  cpSync(orbax(recipe.base), directory, { recursive: true })
  const path = join(directory, recipe.file)
  if (recipe.op === 'delete') rmSync(path)
  else if (recipe.op === 'truncate') truncateSync(path, recipe.bytes_kept)
  else {
    const bytes = readFileSync(path)
    bytes[recipe.offset]! ^= 1 << recipe.bit
    writeFileSync(path, bytes)
  }
  return directory
}

interface PlainArray {
  dtype: '<f4' | 'bfloat16'
  shape: readonly number[]
  bytes: Uint8Array
}

/** Writes arrays as Orbax does without OCDBT: zarr v2, a folder and one chunk each, here not compressed. */
export function writePlainArrays(params: string, arrays: ReadonlyMap<string, PlainArray>): void {
  mkdirSync(params, { recursive: true })
  const tree: Record<string, unknown> = {}
  for (const [path, { dtype, shape, bytes }] of arrays) {
    const keys = ['params', ...path.split('/')]
    tree[path] = {
      key_metadata: keys.map(key => ({ key, key_type: 2 })),
      value_metadata: { value_type: 'jax.Array' },
    }
    const folder = join(params, keys.join('.'))
    mkdirSync(folder)
    const metadata = {
      shape,
      chunks: shape,
      dtype,
      compressor: null,
      fill_value: null,
      filters: null,
      order: 'C',
    }
    writeFileSync(join(folder, '.zarray'), JSON.stringify({ ...metadata, zarr_format: 2 }))
    writeFileSync(join(folder, shape.map(() => 0).join('.')), bytes)
  }
  writeFileSync(join(params, '_METADATA'), JSON.stringify({ tree_metadata: tree, use_zarr3: false }))
}

/**
 * Writes the JAX checkpoint that a PyTorch file of openpi was converted from: float32, element by element, by the shapes of
 * network §2.1 and independent of the reader's own mapping.
 */
export function writeJaxCheckpoint(directory: string, weights: string): void {
  const store = Safetensors.open(weights)
  const arrays = new Map<string, PlainArray>()
  const root = 'paligemma_with_expert.'
  const tower = `${root}paligemma.model.vision_tower.vision_model.`
  const leaf = (path: string, shape: number[], at: (...place: number[]) => number) => {
    const values = new Float32Array(shape.reduce((a, b) => a * b, 1))
    const place = shape.map(() => 0)
    for (let i = 0; i < values.length; i++) {
      let rest = i
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        place[axis] = rest % shape[axis]!
        rest = Math.floor(rest / shape[axis]!)
      }
      values[i] = at(...place)
    }
    arrays.set(path, { dtype: '<f4', shape, bytes: new Uint8Array(values.buffer) })
  }
  const read = new Map<string, Float32Array>()
  const tensor = (name: string) => {
    if (!read.has(name)) read.set(name, store.float32(name))
    return read.get(name)!
  }
  const depth = (prefix: string) =>
    new Set(
      [...store.tensors.keys()]
        .filter(n => n.startsWith(prefix))
        .map(n => n.slice(prefix.length).split('.')[0]),
    ).size
  const dense = (path: string, name: string, layers = 0) => {
    const of = (l: number, part: string) => tensor(`${name.replace('{l}', String(l))}.${part}`)
    const [out, inputs] = store.shape(`${name.replace('{l}', '0')}.weight`) as [number, number]
    const front = layers > 0 ? [layers] : []
    const split = (place: number[]) => (layers > 0 ? place : [0, ...place]) as [number, number, number]
    leaf(
      `${path}/kernel`,
      [...front, inputs, out],
      (...p) => of(split(p)[0], 'weight')[split(p)[2] * inputs + split(p)[1]]!,
    )
    leaf(`${path}/bias`, [...front, out], (...p) => of(split(p)[0], 'bias')[split(p)[1]]!)
  }
  const vectors = (path: string, name: string, layers = 0) => {
    const size = tensor(name.replace('{l}', '0')).length
    if (layers > 0) leaf(path, [layers, size], (l, i) => tensor(name.replace('{l}', String(l)))[i!]!)
    else leaf(path, [size], i => tensor(name)[i!]!)
  }
  // SigLIP
  const [width, , patch] = store.shape(`${tower}embeddings.patch_embedding.weight`) as [
    number,
    number,
    number,
  ]
  const towerDepth = depth(`${tower}encoder.layers.`)
  const heads = 4
  leaf(
    'PaliGemma/img/embedding/kernel',
    [patch, patch, 3, width],
    (y, x, c, w) =>
      tensor(`${tower}embeddings.patch_embedding.weight`)[((w! * 3 + c!) * patch + y!) * patch + x!]!,
  )
  vectors('PaliGemma/img/embedding/bias', `${tower}embeddings.patch_embedding.bias`)
  const [places] = store.shape(`${tower}embeddings.position_embedding.weight`) as [number]
  leaf(
    'PaliGemma/img/pos_embedding',
    [1, places, width],
    (_, p, w) => tensor(`${tower}embeddings.position_embedding.weight`)[p! * width + w!]!,
  )
  const block = 'PaliGemma/img/Transformer/encoderblock'
  const layer = `${tower}encoder.layers.{l}`
  for (const [i, part] of ['layer_norm1', 'layer_norm2'].entries()) {
    vectors(`${block}/LayerNorm_${i}/scale`, `${layer}.${part}.weight`, towerDepth)
    vectors(`${block}/LayerNorm_${i}/bias`, `${layer}.${part}.bias`, towerDepth)
    dense(`${block}/MlpBlock_0/Dense_${i}`, `${layer}.mlp.fc${i + 1}`, towerDepth)
  }
  const headDim = width / heads
  const attention = `${block}/MultiHeadDotProductAttention_0`
  for (const part of ['query', 'key', 'value', 'out']) {
    const name = (l: number) =>
      `${layer.replace('{l}', String(l))}.self_attn.${part === 'out' ? 'out' : part[0]}_proj`
    if (part === 'out') {
      leaf(
        `${attention}/out/kernel`,
        [towerDepth, heads, headDim, width],
        (l, h, d, w) => tensor(`${name(l!)}.weight`)[w! * width + h! * headDim + d!]!,
      )
      leaf(`${attention}/out/bias`, [towerDepth, width], (l, w) => tensor(`${name(l!)}.bias`)[w!]!)
    } else {
      leaf(
        `${attention}/${part}/kernel`,
        [towerDepth, width, heads, headDim],
        (l, w, h, d) => tensor(`${name(l!)}.weight`)[(h! * headDim + d!) * width + w!]!,
      )
      leaf(
        `${attention}/${part}/bias`,
        [towerDepth, heads, headDim],
        (l, h, d) => tensor(`${name(l!)}.bias`)[h! * headDim + d!]!,
      )
    }
  }
  vectors('PaliGemma/img/Transformer/encoder_norm/scale', `${tower}post_layernorm.weight`)
  vectors('PaliGemma/img/Transformer/encoder_norm/bias', `${tower}post_layernorm.bias`)
  dense('PaliGemma/img/head', `${root}paligemma.model.multi_modal_projector.linear`)
  const embedding = `${root}paligemma.lm_head.weight`
  const [rows, columns] = store.shape(embedding) as [number, number]
  leaf(
    'PaliGemma/llm/embedder/input_embedding',
    [rows, columns],
    (r, c) => tensor(embedding)[r! * columns + c!]!,
  )
  // Gemma, twice
  for (const [suffix, gemma] of [
    ['', `${root}paligemma.model.language_model.`],
    ['_1', `${root}gemma_expert.model.`],
  ] as const) {
    const count = depth(`${gemma}layers.`)
    const weight = (l: number, name: string) => tensor(`${gemma}layers.${l}.${name}.weight`)
    const shape = (name: string) => store.shape(`${gemma}layers.0.${name}.weight`) as [number, number]
    const [queries, gemmaWidth] = shape('self_attn.q_proj')
    const [size] = shape('self_attn.k_proj')
    const [mlp] = shape('mlp.gate_proj')
    const layers = 'PaliGemma/llm/layers'
    leaf(
      `${layers}/attn/q_einsum${suffix}/w`,
      [count, queries / size, gemmaWidth, size],
      (l, n, d, h) => weight(l!, 'self_attn.q_proj')[(n! * size + h!) * gemmaWidth + d!]!,
    )
    leaf(
      `${layers}/attn/kv_einsum${suffix}/w`,
      [count, 2, 1, gemmaWidth, size],
      (l, which, _, d, h) =>
        weight(l!, which === 0 ? 'self_attn.k_proj' : 'self_attn.v_proj')[h! * gemmaWidth + d!]!,
    )
    leaf(
      `${layers}/attn/attn_vec_einsum${suffix}/w`,
      [count, queries / size, size, gemmaWidth],
      (l, n, h, d) => weight(l!, 'self_attn.o_proj')[d! * queries + n! * size + h!]!,
    )
    leaf(
      `${layers}/mlp${suffix}/gating_einsum`,
      [count, 2, gemmaWidth, mlp],
      (l, which, d, m) => weight(l!, which === 0 ? 'mlp.gate_proj' : 'mlp.up_proj')[m! * gemmaWidth + d!]!,
    )
    leaf(
      `${layers}/mlp${suffix}/linear`,
      [count, mlp, gemmaWidth],
      (l, m, d) => weight(l!, 'mlp.down_proj')[d! * mlp + m!]!,
    )
    for (const [path, name, many] of [
      [`${layers}/pre_attention_norm${suffix}`, `${gemma}layers.{l}.input_layernorm`, count],
      [`${layers}/pre_ffw_norm${suffix}`, `${gemma}layers.{l}.post_attention_layernorm`, count],
      [`PaliGemma/llm/final_norm${suffix}`, `${gemma}norm`, 0],
    ] as const) {
      const first = name.replace('{l}', '0')
      if (store.tensors.has(`${first}.dense.weight`)) dense(`${path}/Dense_0`, `${name}.dense`, many)
      else if (store.tensors.has(`${first}.weight`)) vectors(`${path}/scale`, `${name}.weight`, many)
      // The converter leaves out what the network does not use.
      else leaf(`${path}/scale`, [gemmaWidth], () => 0)
    }
  }
  for (const name of store.tensors.keys())
    if (/^(action|time|state)[^.]*\.weight$/.test(name))
      dense(name.slice(0, -'.weight'.length), name.slice(0, -'.weight'.length))
  store.close()
  writePlainArrays(join(directory, 'params'), arrays)
}
