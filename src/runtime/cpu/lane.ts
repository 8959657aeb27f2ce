import type { Worker } from 'node:worker_threads'
import { CALLER_LEFT } from '../../cancellation.js'
import { type ErrorCode, reasonOf, TurboPiError } from '../../errors.js'
import type { OnStage } from '../../storage/stage.js'
import type { Call, LoadCall, Replies, Request, Response } from './protocol.js'

/** Memory for the K and V of a batch. It is away while a worker has it, and lost for good when that worker dies. */
export interface Slot {
  buffer: ArrayBuffer | undefined
}

export interface CallOptions {
  signal?: AbortSignal
  /** Memory that the call works on. */
  slot?: Slot
  /** Memory of the call's that it may keep: moved to the worker, not copied. */
  gives?: ArrayBuffer
  onStage?: OnStage
  onNotice?: (text: string) => void
}

interface Pending extends CallOptions {
  resolve: (result: never) => void
  reject: (error: TurboPiError) => void
  cancel: Int32Array
}

/**
 * One worker thread and the calls that wait for it. When the thread dies, its calls fail with RUNTIME_FAILED; the next call
 * starts and loads a new one.
 */
export class Lane {
  private worker: Worker | undefined
  private readonly pending = new Map<number, Pending>()
  private nextId = 1
  private load: LoadCall | undefined
  private loading: Promise<unknown> | undefined
  /** A worker that was given up, until it ends. */
  private left: Worker | undefined
  private closed = false

  constructor(private readonly start: () => Worker) {}

  /** Loads graphs, now and after every restart. */
  async prepare(load: LoadCall, options: CallOptions = {}): Promise<void> {
    await this.call(load, options)
    this.load = load
  }

  /** Sends a call; a signal that is aborted makes it reject with REQUEST_CANCELLED as soon as the worker has let go. */
  call<C extends Call>(call: C, options: CallOptions = {}): Promise<Replies[C['kind']]> {
    if (this.closed) return Promise.reject(new TurboPiError('SHUTTING_DOWN', 'the runtime is closed'))
    const { signal, slot, gives } = options
    if (signal?.aborted) return Promise.reject(CALLER_LEFT)
    const worker = this.worker ?? this.launch()
    const id = this.nextId++
    const cancel = new Int32Array(new SharedArrayBuffer(4))
    const abort = () => Atomics.store(cancel, 0, 1)
    signal?.addEventListener('abort', abort)
    const reply = new Promise<Replies[C['kind']]>((resolve, reject) => {
      this.pending.set(id, { ...options, resolve, reject, cancel })
      worker.ref()
      const buffer = slot?.buffer
      if (slot) slot.buffer = undefined
      const request: Request = { id, call, cancel, ...(buffer && { slot: buffer }) }
      worker.postMessage(
        request,
        [buffer, gives].filter(memory => memory !== undefined),
      )
    })
    return reply.finally(() => signal?.removeEventListener('abort', abort))
  }

  /**
   * Gives up a worker that does not come back from a native call, which fails what waits for it, and loads another one. The
   * old one keeps its memory until it comes back, so that there is one such worker at most. Rejects with ENGINE_HUNG or with
   * why another one could not be loaded.
   */
  async replace(): Promise<void> {
    const { worker } = this
    if (this.left)
      throw new TurboPiError('ENGINE_HUNG', 'The worker in its place hangs, too: only a new process helps.')
    if (worker) {
      this.left = worker
      worker.once('exit', () => {
        this.left = undefined
      })
      // It ends when it comes back.
      for (const { cancel } of this.pending.values()) Atomics.store(cancel, 0, 1)
      const cancel = new Int32Array(new SharedArrayBuffer(4))
      worker.postMessage({ id: 0, call: { kind: 'close' }, cancel } satisfies Request)
      worker.unref()
      this.lose(worker, 'it did not come back from a native call')
    }
    this.launch()
    await this.loading
  }

  private launch(): Worker {
    const worker = this.start()
    this.worker = worker
    worker.on('message', (response: Response) => this.receive(worker, response))
    worker.on('error', error => this.lose(worker, reasonOf(error)))
    worker.on('exit', code => this.lose(worker, `it exited with code ${code}`))
    // When loading fails after a restart, the calls behind it say so.
    if (this.load) {
      this.loading = this.call(this.load)
      this.loading.catch(() => {})
    }
    return worker
  }

  private receive(worker: Worker, response: Response): void {
    const pending = this.pending.get(response.id)
    if (!pending) return
    if ('stage' in response) {
      pending.onStage?.(response.stage)
      return
    }
    if ('notice' in response) {
      pending.onNotice?.(response.notice)
      return
    }
    this.pending.delete(response.id)
    if (this.pending.size === 0) worker.unref()
    if (pending.slot) pending.slot.buffer = response.slot
    if ('error' in response)
      pending.reject(new TurboPiError(response.error.code as ErrorCode, response.error.message))
    else pending.resolve(response.result as never)
  }

  private lose(worker: Worker, reason: string): void {
    if (this.worker !== worker) return
    this.worker = undefined
    const lost = [...this.pending.values()]
    this.pending.clear()
    const error = this.closed
      ? new TurboPiError('SHUTTING_DOWN', 'the runtime was closed')
      : new TurboPiError('RUNTIME_FAILED', `an inference worker was lost: ${reason}`)
    for (const { reject } of lost) reject(error)
  }

  /**
   * Stops what is under way at its next native call, then ends the thread (killing it within a native call would abort the
   * process). Rejects with ENGINE_HUNG when a worker that was given up has not come back.
   */
  async close(): Promise<void> {
    await this.end()
    if (this.left)
      throw new TurboPiError('ENGINE_HUNG', 'An inference worker has not come back from a native call.')
  }

  private async end(): Promise<void> {
    const { worker } = this
    if (this.closed || !worker) {
      this.closed = true
      return
    }
    for (const { cancel } of this.pending.values()) Atomics.store(cancel, 0, 1)
    const ended = new Promise(resolve => worker.once('exit', resolve))
    this.call({ kind: 'close' }).catch(() => {})
    this.closed = true
    worker.ref()
    await ended
  }
}
