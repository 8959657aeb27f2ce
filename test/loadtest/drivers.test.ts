import t from 'tap'
import { streamLoad } from '../../loadtest/drivers.js'
import { framesFor } from '../../loadtest/observations.js'
import type { ObservationSpec } from '../../src/contract/observation.js'
import { servePolicy } from '../support/served-policy.js'

t.test('of robots at a constant rate, what a server answers while it warms up does not count', async t => {
  const { app, close } = await servePolicy()
  t.teardown(close)
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const { observation } = (await (await fetch(`${url}/metadata`)).json()) as { observation: ObservationSpec }
  const frames = [await framesFor(observation, 0)]
  const load = { seconds: 1, hertz: 10, staleAfterMs: Number.POSITIVE_INFINITY }
  const tally = await streamLoad({ url, apiKey: undefined }, frames, load)
  t.equal(tally.errors, 0)
  t.ok(tally.answers > 0, 'answers count afterwards')
  t.ok(tally.served > tally.answers)
  t.notOk(tally.counting, 'nor does what comes when the robots have stopped')
})
