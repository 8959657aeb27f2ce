import { readFileSync } from 'node:fs'
import t from 'tap'
import { requireKnownSettings, SETTINGS } from '../../src/config.js'
import { faultsOf, type Manifest, manifestsOf } from '../support/kubernetes.js'
import { METRIC_NAMES, metricNames } from '../support/metric-names.js'
import { repositoryPath } from '../support/served-policy.js'
import { startServer, stopServers } from '../support/server.js'

t.teardown(stopServers)

const [runtime] = manifestsOf('deploy/kserve/servingruntime.yaml') as Manifest[]
const [service] = manifestsOf('deploy/kserve/inferenceservice.yaml') as Manifest[]
const [container] = runtime.spec.containers
const { model, minReplicas, maxReplicas, autoScaling, ...pod } = service.spec.predictor

t.test('KServe makes a pod of both that Kubernetes takes', async t => {
  const { containers, volumes } = runtime.spec
  const { env } = model
  const merged = [{ ...containers[0], env: [...containers[0].env, ...env] }]
  const made = { ...pod, containers: merged, volumes }
  t.strictSame(await faultsOf({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a' }, spec: made }), [])
  const names = new Set(volumes.map(({ name }: Manifest) => name))
  for (const { name } of container.volumeMounts) t.ok(names.has(name), name)
})

t.test('the service takes this runtime, in Standard mode', async t => {
  t.equal(service.metadata.annotations['serving.kserve.io/deploymentMode'], 'Standard')
  t.equal(model.runtime, runtime.metadata.name)
  t.ok(runtime.spec.supportedModelFormats.some(({ name }: Manifest) => name === model.modelFormat.name))
  t.equal(container.name, 'kserve-container')
  t.ok(minReplicas <= maxReplicas)
})

t.test('the server takes its variables, and gets none of Services', async t => {
  t.equal(pod.enableServiceLinks, false)
  const env = Object.fromEntries(
    [...container.env, ...model.env].map(({ name, value }: Manifest) => [name, value]),
  )
  requireKnownSettings(env)
  t.strictSame(SETTINGS.policy.parse(env['TURBO_PI_POLICY']), [{ name: 'model', directory: '/mnt/models' }])
  const keys = container.volumeMounts.find(({ name }: Manifest) => name === 'keys').mountPath
  t.equal(env['TURBO_PI_API_KEYS'], `${keys}/keys.json`)
  const { version } = JSON.parse(readFileSync(repositoryPath('package.json'), 'utf8'))
  t.match(container.image, `:${version}-nvcr`)
})

t.test('it runs without root, writes where it may, and has the time that it needs to end', async t => {
  t.match(container.securityContext, {
    runAsNonRoot: true,
    runAsUser: 10001,
    readOnlyRootFilesystem: true,
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
  })
  for (const path of ['/var/cache/turbo-pi', '/tmp'])
    t.ok(
      container.volumeMounts.some(({ mountPath, readOnly }: Manifest) => mountPath === path && !readOnly),
      path,
    )
  const needed = container.lifecycle.preStop.sleep.seconds + SETTINGS.drainTimeout.default / 1000 + 2
  t.ok(pod.terminationGracePeriodSeconds > needed)
})

t.test('probes ask routes of a server, and KEDA its numbers', async t => {
  const { url } = await startServer()
  for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe']) {
    const { path, port } = container[probe].httpGet
    t.equal(port, container.ports[0].containerPort)
    t.equal((await fetch(url + path)).status, 200, path)
  }
  const annotations = runtime.spec.annotations
  t.equal((await fetch(url + annotations['prometheus.kserve.io/path'])).status, 200)
  const there = await metricNames(url)
  for (const { external } of autoScaling.metrics) {
    const asked = external.metric.query.match(METRIC_NAMES) ?? []
    t.ok(asked.length > 0)
    for (const name of asked) t.ok(there.has(name), name)
    t.match(external.metric.query, `pod=~"${service.metadata.name}-predictor-.*"`)
  }
})
