import { join } from 'node:path'
import type { GraphName } from '../../families/lowered-model.js'
import { type ModelConfig, tokensPerImage } from '../../families/pi0/config.js'
import { FACTORS } from '../../families/pi0/rtc/step-updates.js'
import { modulatedTimes, timeEmbeddings } from '../../families/pi0/time.js'
import { denoiseInputs } from '../denoise-inputs.js'
import { type InferenceSession, loadOnnxRuntime, type Tensor } from '../onnxruntime.js'
import { FLOATS, type Float, widened } from './floats.js'
import { integerSumsOverflow } from './processor.js'
import type { ActCall, ActReply, LoadCall, PerceiveCall, PerceiveReply } from './protocol.js'
import { type Embeddings, VisionCache } from './vision-cache.js'

const onnx = await loadOnnxRuntime()

type Tensors = Record<string, Tensor>

/** Step counts whose modulations are kept. */
const KEPT_MODULATIONS = 8

/** The graphs of one worker, loaded. Runs them on its own thread, one native call after another. */
export class Sessions {
  private readonly modulations = new Map<number, Float32Array[]>()
  private readonly vision: VisionCache

  private constructor(
    private readonly config: ModelConfig,
    private readonly float: Float,
    private readonly sessions: Partial<Record<GraphName, InferenceSession>>,
    visionCache: number,
  ) {
    this.vision = new VisionCache(visionCache, (images, count) => this.encode(images, count))
  }

  static async load(
    { directory, config, graphs, float, threads, mapped, visionCache }: LoadCall,
    checkpoint: () => void,
  ): Promise<Sessions> {
    const sessions: Partial<Record<GraphName, InferenceSession>> = {}
    for (const graph of graphs) {
      checkpoint()
      // The denoise graph is run with few tokens and often: there rearranged weights pay.
      const inPlace = mapped && (graph === 'vision' || graph === 'prefix')
      sessions[graph] = await onnx.InferenceSession.create(join(directory, `${graph}.onnx`), {
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        executionMode: 'sequential',
        logSeverityLevel: 3,
        extra: {
          session: {
            disable_prepacking: inPlace ? '1' : '0',
            // Three times slower, and exact where the fast way is not.
            x64quantprecision: integerSumsOverflow() ? '1' : '0',
            // Threads that spin while they wait take the cores from the event loop and from the other lane.
            intra_op: { allow_spinning: '0' },
          },
        },
      })
    }
    return new Sessions(config, float, sessions, visionCache)
  }

  private async run(graph: GraphName, feeds: Tensors, fetches: Tensors | string[]): Promise<Tensors> {
    return (await this.sessions[graph]!.run(feeds, fetches)) as Tensors
  }

  /** Vision, then the prefix, whose K and V are written into the slot. `checkpoint` throws when cancelled. */
  async perceive(
    { layout, trace }: PerceiveCall,
    slot: ArrayBuffer,
    checkpoint: () => void,
  ): Promise<PerceiveReply> {
    const { batch, positions, imageCount } = layout
    const start = performance.now()
    const { embeddings, encoded, reused } =
      imageCount > 0
        ? await this.vision.embed(layout.images, imageCount)
        : { embeddings: new FLOATS[this.float](0), encoded: 0, reused: 0 }
    const seen = performance.now()
    checkpoint()
    const feeds = {
      image_embeddings: new onnx.Tensor(this.float, embeddings, this.embeddingShape(imageCount)),
      tokens: new onnx.Tensor('int64', layout.tokens, [layout.tokens.length]),
      source: new onnx.Tensor('int64', layout.source, [batch, positions]),
      lengths: new onnx.Tensor('int64', layout.lengths, [batch]),
    }
    await this.run('prefix', feeds, this.prefix(slot, batch, positions))
    const reply = { visionMs: seen - start, prefixMs: performance.now() - seen, encoded, reused }
    return trace ? { ...reply, imageEmbeddings: widened(embeddings) } : reply
  }

  private embeddingShape(images: number): number[] {
    return [images, tokensPerImage(this.config), this.config.prefix.width]
  }

  private async encode(pixels: Uint8Array, count: number): Promise<Embeddings> {
    const { imageSize } = this.config.vision
    const shape = this.embeddingShape(count)
    const embeddings = new FLOATS[this.float](shape.reduce((product, size) => product * size))
    const images = new onnx.Tensor('uint8', pixels, [count, imageSize, imageSize, 3])
    await this.run('vision', { images }, { image_embeddings: new onnx.Tensor(this.float, embeddings, shape) })
    return embeddings
  }

  /** All denoise steps of a batch. */
  async act(call: ActCall, slot: ArrayBuffer, checkpoint: () => void): Promise<ActReply> {
    const { batch, positions, state, sampling, trace } = call
    const { steps, noise, updates, targets } = denoiseInputs(sampling, this.config)
    const { actionHorizon, actionDim } = this.config
    const shape = [batch, actionHorizon, actionDim]
    const updateShape = [batch, actionHorizon, FACTORS]
    const updateSize = updates.length / steps
    const modulations = await this.modulation(steps)
    const vector = (values: Float32Array) => new onnx.Tensor('float32', values, [values.length])
    const given = modulations[steps]
    const feeds: Tensors = {
      ...this.prefix(slot, batch, positions),
      target: new onnx.Tensor('float32', targets, shape),
      lengths: new onnx.Tensor('int64', call.lengths, [batch]),
      ...(given && { given_modulation: vector(given) }),
      ...(state && { state: new onnx.Tensor('float32', state, [batch, actionDim]) }),
    }
    let x = new onnx.Tensor('float32', noise, shape)
    let next = new onnx.Tensor('float32', new Float32Array(noise.length), shape)
    const velocity = new onnx.Tensor('float32', new Float32Array(noise.length), shape)
    const reply: ActReply = { actions: noise, stepMs: [], x: [], velocity: [] }
    for (let step = 0; step < steps; step++) {
      checkpoint()
      const start = performance.now()
      if (trace) reply.x.push((x.data as Float32Array).slice())
      feeds['x'] = x
      const update = updates.subarray(step * updateSize, (step + 1) * updateSize)
      feeds['modulation'] = vector(modulations[step]!)
      feeds['update'] = new onnx.Tensor('float32', update, updateShape)
      await this.run('denoise', feeds, trace ? { x_next: next, velocity } : { x_next: next })
      if (trace) reply.velocity.push((velocity.data as Float32Array).slice())
      ;[x, next] = [next, x]
      reply.stepMs.push(performance.now() - start)
    }
    reply.actions = x.data as Float32Array
    return reply
  }

  /**
   * What the denoise graph takes of the time, for each step and, where rows may be given, for theirs; computed once a
   * step count (network §6.1).
   */
  private async modulation(steps: number): Promise<Float32Array[]> {
    const kept = this.modulations.get(steps)
    if (kept) return kept
    const times = modulatedTimes(this.config, steps)
    const embedding = timeEmbeddings(this.config, times)
    const shape = [times.length, this.config.expert.width]
    const feeds = { time_embedding: new onnx.Tensor('float32', embedding, shape) }
    const { modulation } = await this.run('modulation', feeds, ['modulation'])
    const all = modulation!.data as Float32Array
    const size = all.length / times.length
    const rows = times.map((_, k) => all.subarray(k * size, (k + 1) * size))
    const [oldest] = this.modulations.keys()
    if (this.modulations.size >= KEPT_MODULATIONS) this.modulations.delete(oldest!)
    this.modulations.set(steps, rows)
    return rows
  }

  /** Tensors over the K and V of a slot, by the graphs' names. */
  private prefix(slot: ArrayBuffer, batch: number, positions: number): Tensors {
    const { depth, kvHeads, headDim } = this.config.prefix
    const shape = [batch, kvHeads, positions, headDim]
    const size = batch * kvHeads * positions * headDim
    const partBytes = slot.byteLength / (2 * depth)
    const part = (index: number) =>
      new onnx.Tensor(this.float, new FLOATS[this.float](slot, index * partBytes, size), shape)
    const tensors: Tensors = {}
    for (let l = 0; l < depth; l++) {
      tensors[`keys.${l}`] = part(2 * l)
      tensors[`values.${l}`] = part(2 * l + 1)
    }
    return tensors
  }
}
