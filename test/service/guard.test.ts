import t from 'tap'
import { RobotWatch } from '../../src/policy/guard/robot-watch.js'
import { StateWatch } from '../../src/policy/guard/state-watch.js'
import { stoppedClock } from '../support/clock.js'
import { fakeObservation } from '../support/fake-policy.js'
import { startServer, stopServers } from '../support/server.js'

t.teardown(stopServers)

const stateOf = ({ state }: ReturnType<typeof fakeObservation>) => state['observation/state']!
const bounds = { from: 'percentiles', low: Float64Array.of(0, 0), high: Float64Array.of(9, 9) } as const

async function serve(mode: 'report' | 'refuse') {
  const watch = () => new RobotWatch(mode, stateOf, { states: new StateWatch(bounds, ['lift', 'grip']) })
  const server = await startServer({ runtime: { milliseconds: 1 }, policy: { watch } })
  const infer = (token: number) =>
    server.service.infer(fakeObservation(token), { noise: 1 }, { session: 'a' })
  return { ...server, infer }
}

t.test('what a guard finds is in the answer and in the metrics', async t => {
  // States that are a second apart are not compared.
  stoppedClock(t)
  const { service, infer } = await serve('report')
  t.same((await infer(4)).guard.findings, [])
  t.match((await infer(1e6)).guard, {
    outOfBounds: 0,
    findings: [
      { kind: 'state_bounds', joint: 'lift', row: null, value: 1e6, limit: 9 },
      { kind: 'state_jump', joint: 'lift' },
    ],
  })
  service.events.flush()
  const metrics = await service.metrics.registry.metrics()
  t.match(metrics, /^turbo_pi_guard_findings_total\{[^}]*kind="state_bounds"[^}]*\} 1$/m)
  t.match(metrics, /^turbo_pi_guard_findings_total\{[^}]*kind="state_jump"[^}]*\} 1$/m)
})

t.test('a guard that refuses costs no inference', async t => {
  const { runtime, infer } = await serve('refuse')
  await t.rejects(infer(1e6), { code: 'OBSERVATION_INVALID', message: /^lift is 1000000, far outside/ })
  t.equal(runtime.calls.length, 0)
  t.ok(await infer(4))
})
