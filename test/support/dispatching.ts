import { CALLER_LEFT } from '../../src/cancellation.js'
import { TurboPiError } from '../../src/errors.js'
import type { DropReason, LaneSpan } from '../../src/runtime/observer.js'
import { Dispatcher, type DispatcherOptions } from '../../src/runtime/scheduling/dispatcher.js'
import type { Admission, InferenceResult, Ticket } from '../../src/runtime/scheduling/ticket.js'
import { FakeRuntime, type FakeRuntimeOptions } from './fake-runtime.js'

/** What is submitted to a dispatcher; its row is told by its token. */
export interface Job extends Partial<Admission> {
  token: number
  steps?: number
}

export const job = (token: number, rest: Omit<Job, 'token'> = {}): Job => ({ token, ...rest })

/** A ticket for a job, under way once `submit` is called. Its answer is 6 times its token. */
class Submitter {
  constructor(readonly dispatcher: Dispatcher) {}

  admit({ token, session = `robot ${token}`, ...rest }: Job): Ticket {
    return this.dispatcher.admit({ session, ...rest })
  }

  row(ticket: Ticket, { token, steps = 2 }: Job): Promise<InferenceResult> {
    const row = { images: [null], tokens: Int32Array.of(token) }
    return this.dispatcher.submit(ticket, row, { noise: new Float32Array(6), steps })
  }

  /** Admitted and, since there is nothing to prepare, submitted at once. */
  async submit(job: Job, signal?: AbortSignal): Promise<InferenceResult> {
    const ticket = this.admit(job)
    signal?.addEventListener('abort', () => this.dispatcher.leave(ticket, CALLER_LEFT))
    return this.row(ticket, job)
  }

  get depth(): number {
    return this.dispatcher.depth
  }

  close(): Promise<void> {
    return this.dispatcher.close()
  }
}

/** A dispatcher over a runtime that answers when it is told to, and what its observer heard. */
export function setUp(runtimeOptions: FakeRuntimeOptions = {}, options: DispatcherOptions = {}) {
  const runtime = new FakeRuntime(runtimeOptions)
  const drops: DropReason[] = []
  const batches: number[] = []
  const spans: LaneSpan[] = []
  const depths: number[] = []
  const dispatcher = new Submitter(
    new Dispatcher(runtime, {
      observer: {
        dropped: reason => drops.push(reason),
        batch: waits => batches.push(waits.length),
        lane: span => spans.push(span),
        depth: waiting => depths.push(waiting),
      },
      ...options,
    }),
  )
  /** Tokens in the order in which the engine took them, batch by batch. */
  const order = () =>
    runtime.calls.filter(call => call.lane === 'perceive').map(call => call.rows.map(row => row.tokens[0]))
  return { runtime, dispatcher, drops, batches, spans, depths, order }
}

/** The code that a promise rejects with; it is handled from now on. */
export const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'answered',
    error => (error instanceof TurboPiError ? error.code : String(error)),
  )
