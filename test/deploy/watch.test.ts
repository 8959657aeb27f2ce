import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { METRIC_NAMES, metricNames } from '../support/metric-names.js'
import { repositoryPath } from '../support/served-policy.js'
import { startServer, stopServers } from '../support/server.js'

t.teardown(stopServers)

const read = (path: string) => readFileSync(join(repositoryPath('deploy'), path), 'utf8')

t.test('alerts and dashboard ask for numbers that a server has', async t => {
  const server = await startServer({ cards: [] })
  const there = await metricNames(server.url)
  const { groups } = parse(read('prometheus/alerts.yml'))
  for (const { alert, expr } of groups[0].rules) {
    const asked = String(expr).match(METRIC_NAMES) ?? []
    t.strictSame(
      asked.filter(name => !there.has(name)),
      [],
      alert,
    )
  }
  const { panels } = JSON.parse(read('grafana/turbo-pi.json'))
  for (const { title, targets = [] } of panels)
    for (const { expr } of targets) {
      const asked = String(expr).match(METRIC_NAMES) ?? []
      t.not(asked.length, 0, `${title} shows something`)
      t.strictSame(
        asked.filter(name => !there.has(name)),
        [],
        title,
      )
    }
})

t.test('every alert has a test of its own', async t => {
  const { groups } = parse(read('prometheus/alerts.yml'))
  const { tests } = parse(read('prometheus/alerts.test.yml'))
  const tested = new Set(
    tests.flatMap((test: { alert_rule_test: { alertname: string; exp_alerts?: unknown }[] }) =>
      test.alert_rule_test.filter(({ exp_alerts }) => exp_alerts).map(({ alertname }) => alertname),
    ),
  )
  for (const { alert } of groups[0].rules) t.ok(tested.has(alert), alert)
})

t.test('panels of the dashboard do not lie on each other', async t => {
  const { panels } = JSON.parse(read('grafana/turbo-pi.json'))
  const places = panels.flatMap(({ gridPos: { x, y, w, h } }: { gridPos: Record<string, number> }) =>
    Array.from({ length: w! * h! }, (_, i) => `${x! + (i % w!)},${y! + Math.floor(i / w!)}`),
  )
  t.equal(new Set(places).size, places.length)
  t.notOk(places.some((place: string) => Number(place.split(',')[0]) >= 24))
})
