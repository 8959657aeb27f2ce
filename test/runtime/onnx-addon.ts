import { readFileSync, writeFileSync } from 'node:fs'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import type { ModelConfig } from '../../src/families/pi0/config.js'
import type {
  BuildRequest,
  EngineName,
  NativeAct,
  NativeAddon,
  NativeJob,
  NativePerceive,
  NativeSession,
  PlanReference,
} from '../../src/runtime/gpu/addon.js'
import type { Builder } from '../../src/runtime/tensorrt/build.js'
import type { TensorRtStages } from '../../src/runtime/tensorrt/create.js'

/**
 * The native addon's surface with ONNX Runtime behind it: a "plan" is a file that names its graph and key, and a session
 * runs the float32 graphs on the padded tensors that it is given. It checks what the addon checks: shapes within the
 * profiles, slots that hold a prefix, a modulation that was set.
 */
export class OnnxAddon implements NativeAddon {
  machine = 'one GPU'
  /** Graphs built, as "graph@level flags". */
  readonly built: string[] = []
  /** Engines that are built wrong, as a faulty TensorRT would: added to every action. */
  faults: (request: BuildRequest, flags: string) => number = () => 0
  openSessions = 0
  /** Makes the next session fail to open, as plans do that TensorRT does not take. */
  refuseOnce = ''

  constructor(readonly config: ModelConfig) {}

  async probe() {
    return {
      available: true,
      headers: '10.13.3',
      driver: 'CUDA 13.0',
      device: 'Test GPU',
      computeCapability: '9.0',
      tensorrtVersion: '10.13.3.9',
    }
  }

  async readCards(devices: readonly number[]) {
    return devices.map(device => ({ device, name: 'Test GPU' }))
  }

  cudaMemory(): never {
    throw new Error('it has no kernels')
  }

  async planMismatch({ path, key }: PlanReference): Promise<string> {
    let plan: { key: Record<string, string>; machine: string }
    try {
      plan = JSON.parse(readFileSync(path, 'utf8'))
    } catch {
      return 'is not there'
    }
    if (plan.machine !== this.machine)
      return `was built for another GPU: ${plan.machine}, now ${this.machine}`
    const field = Object.keys(key).find(name => key[name] !== plan.key[name])
    return field ? `was built for another ${field}: ${plan.key[field]}, now ${key[field]}` : ''
  }

  /** A builder for buildEngines that stays in this process. */
  readonly builder: Builder = async (request, flags, onProgress, signal) => {
    onProgress({ phase: 'Tactics', done: 0, total: 2 })
    signal?.throwIfAborted()
    const { graph, key, onnxPath, profiles } = request
    this.built.push(`${graph}@${request.optimizationLevel} ${flags}`.trim())
    const plan = {
      key,
      machine: this.machine,
      onnxPath,
      profiles,
      fault: String(this.faults(request, flags)),
    }
    writeFileSync(request.planPath, JSON.stringify(plan))
    onProgress({ phase: 'Tactics', done: 2, total: 2 })
  }

  buildPlan(): never {
    throw new Error('engines are built by the builder')
  }

  async openSession({ stages, slots }: Parameters<NativeAddon['openSession']>[0]): Promise<NativeSession> {
    const { kind, plans } = stages as TensorRtStages
    if (kind !== 'tensorrt') throw new Error(`stages of kind ${kind}`)
    for (const plan of Object.values(plans)) {
      const mismatch = await this.planMismatch(plan)
      if (mismatch) throw new Error(`${plan.path} ${mismatch}`)
    }
    const { refuseOnce } = this
    this.refuseOnce = ''
    if (refuseOnce) throw new Error(refuseOnce)
    this.openSessions += 1
    return OnnxSession.open(this, plans, slots)
  }
}

interface Plan {
  onnxPath: string
  profiles: BuildRequest['profiles']
  /** A number as text: JSON has no NaN. */
  fault: string
}

interface Slot {
  cache: Record<string, Tensor>
  lengths: BigInt64Array
}

class OnnxSession implements NativeSession {
  private readonly held = new Map<number, Slot>()
  private readonly tables = new Map<number, Float32Array>()
  private closed = false
  private queue: Promise<unknown> = Promise.resolve()
  private readonly waiting = new Map<number, (error: Error) => void>()
  private jobs = 0

  private constructor(
    private readonly addon: OnnxAddon,
    private readonly plans: Record<EngineName, Plan>,
    private readonly graphs: Record<EngineName, InferenceSession>,
    private readonly slots: number,
  ) {}

  static async open(addon: OnnxAddon, references: Record<EngineName, PlanReference>, slots: number) {
    const read = ({ path }: PlanReference): Plan => JSON.parse(readFileSync(path, 'utf8'))
    const plans = {
      vision: read(references.vision),
      prefix: read(references.prefix),
      denoise: read(references.denoise),
    }
    const load = ({ onnxPath }: Plan) => InferenceSession.create(onnxPath, { logSeverityLevel: 3 })
    const graphs = {
      vision: await load(plans.vision),
      prefix: await load(plans.prefix),
      denoise: await load(plans.denoise),
    }
    return new OnnxSession(addon, plans, graphs, slots)
  }

  get shape() {
    const { config } = this.addon
    const most = (graph: EngineName, tensor: string, profile = 0) =>
      this.plans[graph].profiles[profile]!.find(range => range.tensor === tensor)!.max
    const maxBatch = most('denoise', 'x')[0]!
    return {
      imageTokens: (config.vision.imageSize / config.vision.patch) ** 2,
      headDim: config.prefix.headDim,
      kvHeads: config.prefix.kvHeads,
      layers: config.prefix.depth,
      horizon: config.actionHorizon,
      actionDim: config.actionDim,
      modulation: 0,
      state: config.modelType === 'pi0',
      given: config.trainedDelay > 0,
      joins: false,
      maxBatch,
      maxImages: most('vision', 'images')[0]!,
      maxPrefix: most('denoise', 'keys.0')[2]!,
      tokenBuckets: this.plans.prefix.profiles.map((_, p) => most('prefix', 'tokens', p)[0]! / maxBatch),
    }
  }

  private job<T>(work: () => Promise<T>): NativeJob<T> {
    if (this.closed) throw failure('cancelled', 'the session is closed')
    const job = ++this.jobs
    const promise = new Promise<T>((resolve, reject) => {
      this.waiting.set(job, reject)
      this.queue = this.queue.then(async () => {
        if (!this.waiting.delete(job)) return
        await work().then(resolve, error =>
          reject('status' in error ? error : failure('failed', String(error))),
        )
      })
    })
    return { job, promise }
  }

  cancel(job: number): boolean {
    const reject = this.waiting.get(job)
    if (!reject) return false
    this.waiting.delete(job)
    reject(failure('cancelled', 'cancelled'))
    return true
  }

  perceive(input: NativePerceive) {
    return this.job(async () => {
      await this.fill(input)
      return { visionMs: 2, prefixMs: 3 }
    })
  }

  act(input: NativeAct) {
    return this.job(async () => {
      const [slot = -1] = input.rows
      const whole = Int32Array.from({ length: 2 * input.batch }, (_, i) => (i % 2 === 0 ? slot : i >> 1))
      if (String(input.rows) !== String(whole)) throw failure('invalid', `no joined rows: ${input.rows}`)
      return { actions: (await this.denoise({ ...input, slot })).actions, denoiseMs: 4 }
    })
  }

  setModulation({ steps, table }: { steps: number; table: Float32Array }) {
    return this.job(async () => {
      this.tables.set(steps, table)
    })
  }

  trace(input: NativePerceive & Omit<NativeAct, 'rows'>) {
    return this.job(async () => {
      const { keys, values, imageEmbeddings } = await this.fill(input)
      return { imageEmbeddings, keys, values, ...(await this.denoise(input)) }
    })
  }

  async close() {
    this.closed = true
    for (const job of [...this.waiting.keys()]) this.cancel(job)
    await this.queue
    this.addon.openSessions -= 1
  }

  private within(graph: EngineName, feeds: Record<string, Tensor>, profile = 0): void {
    for (const range of this.plans[graph].profiles[profile]!)
      for (const [i, size] of feeds[range.tensor]!.dims.entries())
        if (size < range.min[i]! || size > range.max[i]!)
          throw failure('invalid', `${graph}: ${range.tensor} has ${size} at ${i}, outside its profile`)
  }

  private async fill(input: NativePerceive) {
    const { slot, batch, imageCount, prefixLength, images, tokens, source, lengths } = input
    const { imageSize } = this.addon.config.vision
    if (slot < 0 || slot >= this.slots) throw failure('invalid', `no slot ${slot}`)
    const pixels = { images: new Tensor('uint8', images, [imageCount, imageSize, imageSize, 3]) }
    this.within('vision', pixels)
    const { image_embeddings } = await this.graphs.vision.run(pixels)
    const feeds = {
      image_embeddings: image_embeddings!,
      tokens: new Tensor('int64', tokens, [tokens.length]),
      source: new Tensor('int64', source, [batch, prefixLength]),
      lengths: new Tensor('int64', lengths, [batch]),
    }
    const profile = this.shape.tokenBuckets.indexOf(tokens.length / batch)
    if (profile < 0) throw failure('invalid', 'tokens is not batch × a bucket')
    this.within('prefix', feeds, profile)
    const cache = await this.graphs.prefix.run(feeds)
    this.held.set(slot, { cache, lengths })
    const layers = Array.from({ length: this.addon.config.prefix.depth }, (_, l) => l)
    return {
      imageEmbeddings: image_embeddings!.data as Float32Array,
      keys: layers.map(l => cache[`keys.${l}`]!.data as Float32Array),
      values: layers.map(l => cache[`values.${l}`]!.data as Float32Array),
    }
  }

  private async denoise(input: Omit<NativeAct, 'rows'> & { slot: number }) {
    const { slot, batch, steps, noise, updates, targets, state } = input
    const held = this.held.get(slot)
    const table = this.tables.get(steps)
    if (!held) throw failure('invalid', 'the slot holds no prefix')
    if (!table) throw failure('invalid', `no modulation was set for ${steps} steps`)
    const { actionDim, actionHorizon, trainedDelay } = this.addon.config
    const size = table.length / (trainedDelay > 0 ? steps + 1 : steps)
    const modulation = (row: number) =>
      new Tensor('float32', table.subarray(row * size, (row + 1) * size), [size])
    const updateSize = updates.length / steps
    const x: Float32Array[] = []
    const velocity: Float32Array[] = []
    let current = noise
    for (let step = 0; step < steps; step++) {
      const feeds = {
        x: new Tensor('float32', current, [batch, actionHorizon, actionDim]),
        modulation: modulation(step),
        update: new Tensor('float32', updates.subarray(step * updateSize, (step + 1) * updateSize), [
          batch,
          actionHorizon,
          3,
        ]),
        target: new Tensor('float32', targets, [batch, actionHorizon, actionDim]),
        ...(trainedDelay > 0 && { given_modulation: modulation(steps) }),
        lengths: new Tensor('int64', held.lengths, [batch]),
        ...(state.length && { state: new Tensor('float32', state, [batch, actionDim]) }),
        ...held.cache,
      }
      this.within('denoise', feeds)
      const out = await this.graphs.denoise.run(feeds)
      x.push(current)
      velocity.push(out['velocity']!.data as Float32Array)
      current = out['x_next']!.data as Float32Array
    }
    return { x, velocity, actions: current.map(value => value + Number(this.plans.denoise.fault)) }
  }
}

const failure = (status: string, reason: string) => Object.assign(new Error(reason), { status, hint: '' })
