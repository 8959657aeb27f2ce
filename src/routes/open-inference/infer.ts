import { CALLER_LEFT, type Cancellation } from '../../cancellation.js'
import { observationsOf } from '../../contract/open-inference/observations.js'
import { outputsOf, requireOutputs } from '../../contract/open-inference/outputs.js'
import type { OpenInferenceRequest, OutputTensor } from '../../contract/open-inference/request.js'
import { signatureOf } from '../../contract/open-inference/signature.js'
import type { InferRequest, RequestParser } from '../../contract/parse.js'
import { TurboPiError } from '../../errors.js'
import type { Served } from '../../service/served.js'
import type { Key } from '../access/key.js'
import type { Robot } from '../robots.js'

/** Who asks for an inference, over either wire. */
export interface Asker {
  /** Whose turn it is in the queue, where no robot has named itself. */
  readonly session: string
  readonly robot: Robot | undefined
  readonly key: Key | undefined
  /** Aborted when the caller goes away, and when one of its observations has failed. */
  readonly gone: Cancellation
  /** Milliseconds that the wire itself gives the request. */
  readonly deadlineMs?: number | undefined
  /** A service has taken the request up, and counts its errors. */
  reached(): void
}

/**
 * Answers a request as POST /infer would answer each of its observations: the same checks, limits, queue and events. One that
 * fails is the end of all. Each row is watched as a robot of its own, as those of several robots are.
 */
export async function inferTensors(
  served: Served,
  request: OpenInferenceRequest,
  { session, robot, key, gone, reached, ...asker }: Asker,
): Promise<OutputTensor[]> {
  const arrived = performance.now()
  const { service, parser } = served.current
  const { observation: spec, shape } = service.metadata()
  requireOutputs(request.outputs)
  const names = signatureOf(spec, shape).inputs.map(({ name }) => name)
  const rows = observationsOf(request, names)
  const parsed = rows.map((row, i) => parsedRow(parser, row, i, rows.length))
  // The request itself has been counted.
  for (let i = 1; i < parsed.length; i++) key?.take()
  const finished: (() => void)[] = []
  try {
    if (key) for (let i = 0; i < parsed.length; i++) finished.push(key.begin())
    reached()
    const own = robot?.name ?? session
    const work = parsed.map(({ observation, sampling, deadlineMs }, i) =>
      service.infer(observation, sampling, {
        session: i === 0 ? own : `${own}#${i}`,
        robot: robot?.name,
        signal: gone,
        deadlineMs: earliest(deadlineMs, asker.deadlineMs),
      }),
    )
    const answers = await Promise.all(work).catch(async error => {
      gone.abort(CALLER_LEFT)
      await Promise.allSettled(work)
      throw error
    })
    for (const answer of answers) robot?.answered(served.name, performance.now() - arrived, answer)
    return outputsOf(answers, request.outputs)
  } finally {
    for (const end of finished) end()
  }
}

function parsedRow(parser: RequestParser, row: unknown, i: number, rows: number): InferRequest {
  try {
    return parser.request(row, 'msgpack')
  } catch (error) {
    if (rows === 1 || !(error instanceof TurboPiError)) throw error
    const { code, message, fields } = error
    throw new TurboPiError(code, `Observation ${i} of ${rows}: ${message}`, { fields, cause: error })
  }
}

const earliest = (one: number | undefined, other: number | undefined) =>
  one === undefined ? other : Math.min(one, other ?? one)
