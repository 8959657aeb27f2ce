import t from 'tap'
import { type Manifest, rendered, valueSets } from '../../support/kubernetes.js'
import { METRIC_NAMES, metricNames } from '../../support/metric-names.js'
import { startServer, stopServers } from '../../support/server.js'

t.teardown(stopServers)

const of = (set: string, kind: string): Manifest => rendered(set).find(object => object.kind === kind)

t.test('KEDA scales by numbers that a server has, of this release alone', async t => {
  const { url } = await startServer()
  const there = await metricNames(url)
  const { spec } = of('autoscaled', 'ScaledObject')
  t.strictSame(
    spec.triggers.map(({ name }: Manifest) => name),
    ['queue-wait', 'utilisation'],
  )
  for (const { metadata, metricType } of spec.triggers) {
    const asked = metadata.query.match(METRIC_NAMES) ?? []
    t.equal(asked.length, 1)
    t.ok(there.has(asked[0]), asked[0])
    t.match(metadata.query, /\{namespace="robots",service="turbo-pi"\}/)
    t.match(metadata.query, /or vector\(0\)$/, 'silence is a number, too')
    t.equal(metricType, 'Value')
    t.ok(Number(metadata.threshold) > 0)
  }
})

t.test('what scales is the Deployment, which then names no replicas itself', async t => {
  const { spec } = of('autoscaled', 'ScaledObject')
  const deployment = of('autoscaled', 'Deployment')
  t.equal(spec.scaleTargetRef.name, deployment.metadata.name)
  t.notOk('replicas' in deployment.spec)
  t.ok(spec.minReplicaCount <= spec.maxReplicaCount)
  t.equal(of('gpu', 'Deployment').spec.replicas, 4)
})

t.test(
  'Prometheus finds the Service by the labels of the job that alerts speak of, and has a key',
  async t => {
    for (const set of valueSets()) {
      const monitor = of(set, 'ServiceMonitor')
      if (!monitor) continue
      const service = of(set, 'Service')
      t.match(service.metadata.labels, monitor.spec.selector.matchLabels)
      t.equal(service.metadata.labels[monitor.spec.jobLabel], 'turbo-pi')
      const [{ port, path, scheme, authorization }] = monitor.spec.endpoints
      t.ok(service.spec.ports.some(({ name }: Manifest) => name === port))
      t.equal(path, '/metrics')
      t.equal(scheme, set === 'tls' ? 'https' : 'http')
      t.equal(authorization.type, 'Api-Key')
      const secret = of(set, 'Secret')
      t.equal(authorization.credentials.name, secret?.metadata.name ?? 'turbo-pi-keys')
      if (secret) t.ok(authorization.credentials.key in secret.data)
    }
  },
)
