import t from 'tap'
import { command, linkReport } from '../../src/commands/link.js'
import { FAKE_MODEL } from '../support/fake-policy.js'
import { startServer, stopServers } from '../support/server.js'

t.teardown(stopServers)

t.test('the report of a link', t => {
  const sample = (roundTripMs: number, offset: number) => ({
    roundTripMs,
    offsetMs: performance.timeOrigin + offset,
  })
  const report = linkReport([sample(10, 40), sample(4, 37), sample(30, 50), sample(6, 38)], 5, 100)
  t.match(report, {
    exchanges: 5,
    lost: 1,
    offsetErrorMs: 2,
    roundTripMs: { least: 4, median: 6, p95: 30, most: 30 },
    budgetMs: 70,
  })
  t.ok(Math.abs(report.offsetMs! - 37) < 1e-3, 'of the quickest exchange')
  t.equal(report.jitterMs, (6 + 26 + 24) / 3)
  t.match(linkReport([], 3, 100), { lost: 3, budgetMs: null })
  t.end()
})

/** An exchange that a busy machine holds up is not lost. */
const patient = ['--timeout', '60000']

t.test('turbo-pi link measures a server, and says when there is none', async t => {
  const { url } = await startServer({ runtime: { milliseconds: 1 } })
  const printed: string[] = []
  t.intercept(console, 'log', { value: (line: string) => printed.push(line) })
  t.equal(
    await command.run([url, '--count', '5', '--interval', '1', '--deadline', '60000', ...patient, '--json']),
    0,
  )
  const report = JSON.parse(printed[0]!)
  t.match(report, { policy: 'fake', model: FAKE_MODEL, exchanges: 5, lost: 0 })
  t.ok(Math.abs(report.offsetMs) < 1000 + report.offsetErrorMs)
  await command.run([url, '--count', '2', '--interval', '0', ...patient])
  t.match(printed[1], /clock offset.*\n.*round trip.*\n.*jitter.*\n.*lost +0 of 2\n.*age budget/)
  await t.rejects(command.run([]), { code: 'CONFIG_INVALID', message: /one URL/ })
  await t.rejects(command.run([`${url}/nothing/here`]), {
    code: 'SERVER_UNREACHABLE',
    message: /status 404/,
  })
})
