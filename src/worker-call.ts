import { parentPort, type Worker } from 'node:worker_threads'
import { calledOff } from './cancellation.js'
import { type ErrorCode, reasonOf, TurboPiError } from './errors.js'

type Reply<Answer, News> =
  | { kind: 'answer'; answer: Answer }
  | { kind: 'news'; news: News }
  | { kind: 'error'; code: ErrorCode | undefined; message: string }

interface CallOptions<News> {
  /** Code of a failure that has none of its own. */
  code: ErrorCode
  onNews?: (news: News) => void
  /** Of a start: ends the worker. */
  signal?: AbortSignal
}

/**
 * One request to a worker of its own, whose file says what it answers by `answerCall`; the worker ends with it. Throws what
 * the worker threw, by its code and message, and CANCELLED when the signal comes first.
 */
export function callWorker<Answer, News = never>(
  start: () => Worker,
  request: unknown,
  { code, onNews, signal }: CallOptions<News>,
): Promise<Answer> {
  if (signal?.aborted) return Promise.reject(calledOff('the start'))
  return new Promise((resolve, reject) => {
    const worker = start()
    const abort = () => {
      reject(calledOff('the start'))
      void worker.terminate()
    }
    signal?.addEventListener('abort', abort, { once: true })
    const lost = (reason: string) => reject(new TurboPiError(code, `a worker thread was lost: ${reason}`))
    worker.on('error', error => lost(reasonOf(error)))
    worker.on('exit', status => {
      signal?.removeEventListener('abort', abort)
      lost(`it exited with code ${status}`)
    })
    worker.on('message', (reply: Reply<Answer, News>) => {
      if (reply.kind === 'news') return onNews?.(reply.news)
      if (reply.kind === 'error') reject(new TurboPiError(reply.code ?? code, reply.message))
      else resolve(reply.answer)
      // Killing a worker within a native call would abort the process; it has just left its last one.
      void worker.terminate()
    })
    worker.postMessage(request)
  })
}

/** In a worker's file: answers the one request that it is started for. Arrays of the answer are handed over, not copied. */
export function answerCall<Request, Answer extends object, News = never>(
  answer: (request: Request, tell: (news: News) => void) => Answer | Promise<Answer>,
): void {
  const send = (reply: Reply<Answer, News>, arrays: ArrayBuffer[] = []) =>
    parentPort!.postMessage(reply, arrays)
  parentPort!.once('message', async (request: Request) => {
    try {
      const result = await answer(request, news => send({ kind: 'news', news }))
      send({ kind: 'answer', answer: result }, arraysOf(result))
    } catch (error) {
      const code = error instanceof TurboPiError ? error.code : undefined
      send({ kind: 'error', code, message: reasonOf(error) })
    }
  })
}

const arraysOf = (value: object): ArrayBuffer[] =>
  ArrayBuffer.isView(value)
    ? [value.buffer as ArrayBuffer]
    : Object.values(value).flatMap(part =>
        typeof part === 'object' && part !== null && !Array.isArray(part) ? arraysOf(part) : [],
      )
