import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Timed, Totals } from '../contract/page.js'
import { TurboPiError } from '../errors.js'
import { GuardRefusal } from '../policy/guard/refusal.js'
import type { RuntimeObserver } from '../runtime/observer.js'
import type { Answered, Failed, ServiceListener } from './events.js'

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5, 10]
const BATCHES = [1, 2, 4, 8, 16, 32]

/** The numbers of what is served under one name, in Prometheus' names and base units. */
export class Metrics implements ServiceListener {
  readonly registry = new Registry()
  readonly #answers = this.#counter('answers_total', 'Action chunks answered.')
  readonly #coalesced = this.#counter('coalesced_total', "Answers shared from another caller's inference.")
  readonly #superseded = this.#counter(
    'superseded_total',
    'Observations replaced by newer ones of their session.',
  )
  readonly #late = this.#counter('late_total', 'Answers given after their deadline, marked as late.')
  readonly #outOfBounds = this.#counter(
    'actions_out_of_bounds_total',
    'Action values that the guard found out of bounds.',
  )
  readonly #findings = new Counter({
    name: 'turbo_pi_guard_findings_total',
    help: 'Answers and refusals in which a guard found something, by its kind.',
    labelNames: ['kind'],
    registers: [this.registry],
  })
  readonly #listenerErrors = this.#counter(
    'listener_errors_total',
    'Errors of what listens to the service: a recorder that cannot write, for example. They cost no answer.',
  )
  readonly #errors = new Counter({
    name: 'turbo_pi_errors_total',
    help: 'Requests that ended in an error, by its code.',
    labelNames: ['code'],
    registers: [this.registry],
  })
  readonly #dropped = new Counter({
    name: 'turbo_pi_dropped_total',
    help: 'Requests that left the queue or the engine without an answer.',
    labelNames: ['reason'],
    registers: [this.registry],
  })
  readonly #images = new Counter({
    name: 'turbo_pi_images_total',
    help: 'Images perceived, by where their embeddings came from.',
    labelNames: ['from'],
    registers: [this.registry],
  })
  readonly #prefixes = new Counter({
    name: 'turbo_pi_prefixes_total',
    help: 'Rows whose prefix was needed, by where it came from; counted where prefixes are kept.',
    labelNames: ['from'],
    registers: [this.registry],
  })
  readonly #hung = this.#counter('engine_hung_total', 'Calls of the engine that did not return in time.')
  readonly #recovered = this.#counter(
    'engine_recovered_total',
    'Times that the engine worked again after a call that hung.',
  )
  readonly #depth = new Gauge({
    name: 'turbo_pi_queue_depth',
    help: 'Requests that have a place in the queue: being prepared, or waiting for the engine.',
    registers: [this.registry],
  })
  readonly #model = new Gauge({
    name: 'turbo_pi_model_info',
    help: 'The policy that acts, by its content; always 1.',
    labelNames: ['model'],
    registers: [this.registry],
  })
  readonly #modelBytes = new Gauge({
    name: 'turbo_pi_model_bytes',
    help: 'Memory that the weights of the policy that acts take in the engine, by its sizes and precision.',
    registers: [this.registry],
  })
  readonly #connections = new Gauge({
    name: 'turbo_pi_connections',
    help: 'Open WebSocket connections.',
    labelNames: ['protocol'],
    registers: [this.registry],
  })
  readonly #connects = new Counter({
    name: 'turbo_pi_connects_total',
    help: 'WebSocket connections that were opened.',
    labelNames: ['protocol'],
    registers: [this.registry],
  })
  readonly #closes = new Counter({
    name: 'turbo_pi_closes_total',
    help: 'WebSocket connections that have ended, by the code of their close.',
    labelNames: ['protocol', 'code'],
    registers: [this.registry],
  })
  readonly #batch = new Histogram({
    name: 'turbo_pi_batch_rows',
    help: 'Rows of a batch, which are perceived together.',
    buckets: BATCHES,
    registers: [this.registry],
  })
  readonly #acted = new Histogram({
    name: 'turbo_pi_act_rows',
    help: 'Rows that one act call denoises together, of one batch or of several.',
    buckets: BATCHES,
    registers: [this.registry],
  })
  readonly #wait = new Histogram({
    name: 'turbo_pi_queue_wait_seconds',
    help: 'Waiting of a request, to be prepared and for the engine.',
    buckets: SECONDS,
    registers: [this.registry],
  })
  readonly #stages = new Histogram({
    name: 'turbo_pi_stage_seconds',
    help: 'Time of each stage of an inference.',
    labelNames: ['stage'],
    buckets: SECONDS,
    registers: [this.registry],
  })
  readonly #stage = {
    decode: this.#stages.labels('decode'),
    vision: this.#stages.labels('vision'),
    prefix: this.#stages.labels('prefix'),
    denoise: this.#stages.labels('denoise'),
    total: this.#stages.labels('total'),
  }
  readonly #lanes = new Counter({
    name: 'turbo_pi_lane_busy_seconds_total',
    help: 'Time that each lane of the engine was at work, on GPUs by the card.',
    labelNames: ['lane', 'device'],
    registers: [this.registry],
  })
  readonly #working = new Gauge({
    name: 'turbo_pi_engine_working',
    help: 'Of several cards, whether each works: 0 from a failure until it has answered again.',
    labelNames: ['device'],
    registers: [this.registry],
  })

  /** What the page reads every second: far cheaper than all of the registry. */
  readonly totals: Totals = {
    answers: 0,
    answered: { count: 0, seconds: 0 },
    engine: { count: 0, seconds: 0 },
    waited: { count: 0, seconds: 0 },
  }

  /** What the dispatcher reports to. */
  readonly runtime: RuntimeObserver = {
    depth: waiting => this.#depth.set(waiting),
    batch: waitMs => {
      this.#batch.observe(waitMs.length)
      for (const ms of waitMs) {
        this.#wait.observe(ms / 1000)
        add(this.totals.waited, ms)
      }
    },
    images: (encoded, reused) => {
      if (encoded > 0) this.#images.inc({ from: 'encoder' }, encoded)
      if (reused > 0) this.#images.inc({ from: 'cache' }, reused)
    },
    prefixes: (computed, reused) => {
      if (computed > 0) this.#prefixes.inc({ from: 'engine' }, computed)
      if (reused > 0) this.#prefixes.inc({ from: 'cache' }, reused)
    },
    hung: () => this.#hung.inc(),
    recovered: () => this.#recovered.inc(),
    dropped: reason => this.#dropped.inc({ reason }),
    engine: ({ device, error }) => this.#working.set({ device: device ?? '' }, error ? 0 : 1),
    lane: ({ lane, rows, start, end, device }) => {
      if (lane === 'act') this.#acted.observe(rows)
      this.#lanes.inc(device === undefined ? { lane } : { lane, device }, (end - start) / 1000)
    },
  }

  /** @param policy labels every number, where several policies are served. */
  constructor(policy?: string) {
    if (policy !== undefined) this.registry.setDefaultLabels({ policy })
    for (const from of ['encoder', 'cache']) this.#images.inc({ from }, 0)
    for (const from of ['engine', 'cache']) this.#prefixes.inc({ from }, 0)
  }

  /** The policy that acts from now on, the bytes of its weights, and the cards that compute. */
  serves(model: string, bytes: number, cards: readonly number[] = []): void {
    this.#working.reset()
    if (cards.length > 1) for (const device of cards) this.#working.set({ device }, 1)
    this.#modelBytes.set(bytes)
    this.#model.reset()
    this.#model.set({ model }, 1)
  }

  answered({ answer: { timing, coalesced, late, guard } }: Answered): void {
    this.#answers.inc()
    if (coalesced) this.#coalesced.inc()
    if (late) this.#late.inc()
    if (guard.outOfBounds > 0) this.#outOfBounds.inc(guard.outOfBounds)
    if (guard.findings.length > 0)
      for (const kind of new Set(guard.findings.map(finding => finding.kind))) this.#findings.inc({ kind })
    this.#stage.total.observe(timing.totalMs / 1000)
    this.totals.answers += 1
    add(this.totals.answered, timing.totalMs)
    // The other stages ran once for all who share the answer.
    if (coalesced) return
    this.#stage.decode.observe(timing.decodeMs / 1000)
    this.#stage.vision.observe(timing.visionMs / 1000)
    this.#stage.prefix.observe(timing.prefixMs / 1000)
    this.#stage.denoise.observe(timing.denoiseMs / 1000)
    add(this.totals.engine, timing.visionMs + timing.prefixMs + timing.denoiseMs)
  }

  failed({ error }: Failed): void {
    // Callers that go away, or send something newer, are no fault; `dropped` counts the work.
    if (error instanceof TurboPiError && error.code === 'REQUEST_CANCELLED') return
    this.#errors.inc({ code: error instanceof TurboPiError ? error.code : 'INTERNAL' })
    if (error instanceof GuardRefusal) this.#findings.inc({ kind: error.finding.kind })
  }

  /** A request was refused before the service was asked. */
  refused(code: string): void {
    this.#errors.inc({ code })
  }

  /** Errors so far, of every code. */
  async errors(): Promise<number> {
    return (await this.#errors.get()).values.reduce((total, { value }) => total + value, 0)
  }

  superseded(): void {
    this.#superseded.inc()
  }

  /** A listener of the service's events threw. */
  listenerFailed(): void {
    this.#listenerErrors.inc()
  }

  connected(protocol: string): void {
    this.#connects.inc({ protocol })
    this.#connections.inc({ protocol })
  }

  /** Codes of the standard are told apart; those that callers make up are one. */
  disconnected(protocol: string, code: number): void {
    this.#connections.dec({ protocol })
    this.#closes.inc({ protocol, code: code < 1016 ? String(code) : 'other' })
  }

  #counter(name: string, help: string): Counter {
    return new Counter({ name: `turbo_pi_${name}`, help, registers: [this.registry] })
  }
}

function add(timed: Timed, ms: number): void {
  timed.count += 1
  timed.seconds += ms / 1000
}
