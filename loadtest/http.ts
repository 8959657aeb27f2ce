import autocannon from 'autocannon'
import type { Target } from './load-socket.js'
import type { RobotFrames } from './observations.js'

export interface HttpResult {
  answers: number
  requestsPerSecond: number
  /** Whole milliseconds, as autocannon counts. */
  p50: number
  p99: number
  p999: number
  errors: number
}

/** POST /infer with one connection a robot. */
export async function httpLoad(
  { url, apiKey }: Target,
  robots: RobotFrames[],
  form: 'json' | 'msgpack',
  seconds: number,
): Promise<HttpResult> {
  let next = 0
  const result = await autocannon({
    url: `${url}/infer`,
    method: 'POST',
    connections: robots.length,
    duration: seconds,
    headers: {
      'content-type': `application/${form}`,
      ...(apiKey !== undefined && { authorization: `Api-Key ${apiKey}` }),
    },
    setupClient: client => {
      client.setBody(robots[next++ % robots.length]![form] as string | Buffer)
    },
  })
  return {
    answers: result.requests.total,
    requestsPerSecond: result.requests.average,
    p50: result.latency.p50,
    p99: result.latency.p99,
    p999: result.latency.p99_9,
    errors: result.errors + result.non2xx,
  }
}
