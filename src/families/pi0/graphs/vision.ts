import type { Value } from '../../../onnx/graph.js'
import { type ChannelSizes, layerNormSizes, projectionSizes } from '../../../onnx/quantisation.js'
import { attend, dense, headsFirst, linear, residual, type Site } from '../blocks.js'
import { tokensPerImage } from '../config.js'
import { PROJECTOR, VISION } from '../tensors.js'

/** u8 images [n, size, size, 3] → image embeddings [n, tokens, prefix width] (network §3.2). */
export function visionGraph(site: Site): void {
  const { g, config } = site
  const { depth, imageSize } = config.vision
  const images = g.input('images', 'uint8', ['n', imageSize, imageSize, 3])
  let x = patchEmbedding(site, images)
  for (let l = 0; l < depth; l++) x = g.scope(`layer.${l}`, () => siglipBlock(site, x, l))
  const embeddings = dense(site, layerNorm(site, x, `${VISION}.post_layernorm`), PROJECTOR)
  g.output('image_embeddings', embeddings, ['n', tokensPerImage(config), config.prefix.width])
}

/**
 * The patch convolution as a matrix product on patches in (row, column, channel) order. Pixels enter as u − 127.5, which
 * is exact in every float type; the rest of x = u/127.5 − 1 is in the weights. The bias is in the position table.
 */
function patchEmbedding({ g, lower, config }: Site, images: Value): Value {
  const { patch, imageSize, width } = config.vision
  const side = imageSize / patch
  const pixels = patch * patch
  const name = `${VISION}.embeddings.patch_embedding`
  // TensorRT takes bytes as an input, but moves none: they are widened first.
  const centred = g.subtract(g.cast(images, 'float32'), g.floats('float32', 127.5))
  const rows = g.transpose(g.reshape(centred, [-1, side, patch, side, patch * 3]), [0, 1, 3, 2, 4])
  const patches = g.reshape(rows, [-1, side * side, pixels * 3])
  const weight = lower.computed(`${name}.weight`, 'float32', [pixels * 3, width], read => {
    const source = read(`${name}.weight`)
    const target = new Float32Array(source.length)
    for (let output = 0; output < width; output++)
      for (let channel = 0; channel < 3; channel++)
        for (let pixel = 0; pixel < pixels; pixel++)
          target[(pixel * 3 + channel) * width + output] =
            source[(output * 3 + channel) * pixels + pixel]! / 127.5
    return target
  })
  const table = lower.computed(`${name}.positions`, 'float32', [side * side, width], read => {
    const bias = read(`${name}.bias`)
    return read(`${VISION}.embeddings.position_embedding.weight`).map((v, i) => v + bias[i % width]!)
  })
  return g.add(g.matmul(patches, g.weight(weight)), g.weight(table))
}

function layerNorm({ g, lower, config }: Site, x: Value, name: string): Value {
  const scale = lower.vector(`${name}.weight`, 'float32', [{ tensor: `${name}.weight` }])
  const bias = lower.vector(`${name}.bias`, 'float32', [{ tensor: `${name}.bias` }])
  return g.layerNorm(x, g.weight(scale), g.weight(bias), config.vision.layerNormEps)
}

/** x += out(MHA(LN₁(x))); x += fc2(gelu(fc1(LN₂(x)))). */
function siglipBlock(site: Site, x: Value, index: number): Value {
  const { g } = site
  const layer = `${VISION}.encoder.layers.${index}`
  const [before, after] = [`${layer}.layer_norm1`, `${layer}.layer_norm2`]
  const attention = selfAttention(
    site,
    layerNorm(site, x, before),
    `${layer}.self_attn`,
    layerNormSizes(before),
  )
  const middle = residual(g, x, attention)
  const [fc1, fc2] = [`${layer}.mlp.fc1`, `${layer}.mlp.fc2`]
  const sizes = layerNormSizes(after)
  const hidden = dense(site, layerNorm(site, middle, after), fc1, {
    place: 'up',
    channelSizes: sizes,
  })
  return residual(
    g,
    middle,
    dense(site, g.gelu(hidden), fc2, {
      place: 'down',
      channelSizes: projectionSizes(`${fc1}.weight`, sizes, `${fc1}.bias`),
    }),
  )
}

/** Full attention with biases; the scale d^−½ is in the queries' weights. */
function selfAttention(site: Site, h: Value, name: string, channelSizes: ChannelSizes): Value {
  const { g, config } = site
  const { width, heads } = config.vision
  const headDim = width / heads
  const parts = ['q_proj', 'k_proj', 'v_proj'].map(part => `${name}.${part}`)
  const scales = [headDim ** -0.5, 1, 1]
  const projections = parts.map((part, i) => ({ weight: `${part}.weight`, scale: scales[i]! }))
  const packed = linear(site, h, `${name}.qkv`, projections, {
    biases: parts.map(part => `${part}.bias`),
    place: 'q',
    channelSizes,
  })
  const [q, keys, values] = g
    .split(packed, -1, [width, width, width])
    .map(part => headsFirst(g, g.reshape(part, [0, 0, heads, headDim]))) as [Value, Value, Value]
  const mixed = attend(g, q, [{ keys, values, mask: logits => logits }])
  return dense(site, g.reshape(headsFirst(g, mixed), [0, 0, width]), `${name}.out_proj`, {
    place: 'o',
    channelSizes: projectionSizes(`${name}.v_proj.weight`, channelSizes, `${name}.v_proj.bias`),
  })
}
