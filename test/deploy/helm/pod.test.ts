import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { parse } from 'yaml'
import { loadCommand } from '../../../src/commands/table.js'
import { checkedConfig, loadConfig, requireKnownSettings } from '../../../src/config.js'
import { KeyRing } from '../../../src/routes/access/key-ring.js'
import { type Manifest, rendered, valueSets } from '../../support/kubernetes.js'
import { repositoryPath } from '../../support/served-policy.js'
import { startServer, stopServers } from '../../support/server.js'

t.teardown(stopServers)

const run = promisify(execFile)
const of = (set: string, kind: string): Manifest => rendered(set).find(object => object.kind === kind)
const podOf = (set: string): Manifest => of(set, 'Deployment').spec.template.spec
const serverOf = (set: string): Manifest => podOf(set).containers[0]
const settingsOf = (set: string): Manifest => parse(of(set, 'ConfigMap').data['settings.yaml'])

/** What the image sets, overwritten by what the pod sets. */
function environmentOf(set: string): Record<string, string> {
  const image = readFileSync(repositoryPath('docker/Dockerfile.cpu'), 'utf8')
  const given = [...image.matchAll(/\b(TURBO_PI_\w+)=(\S+)/g)].map(([, name, value]) => [name!, value!])
  t.ok(given.length >= 4, 'the image sets some')
  const own = serverOf(set).env.map(({ name, value }: Manifest) => [name, value])
  return Object.fromEntries([...given, ...own])
}

for (const set of valueSets()) {
  t.test(`${set}: the server takes the file of settings and the environment of its pod`, async t => {
    const file = join(t.testdir(), 'settings.yaml')
    writeFileSync(file, of(set, 'ConfigMap').data['settings.yaml'])
    const env = environmentOf(set)
    t.equal(env['TURBO_PI_CONFIG_FILE'], '/etc/turbo-pi/settings/settings.yaml')
    requireKnownSettings(env)
    const config = checkedConfig(loadConfig([], { ...env, TURBO_PI_CONFIG_FILE: file }))
    const settings = settingsOf(set)
    t.equal(config.port, serverOf(set).ports[0].containerPort)
    t.equal(config.cacheDir, '/var/cache/turbo-pi')
    t.equal(config.runtime, settings.runtime, 'what the image says does not win over the settings')
    t.equal(config.host, set === 'jetson' ? '::' : '0.0.0.0')
    t.equal(config.maxBatch, settings['max-batch'] ?? 8)
  })

  t.test(
    `${set}: gRPC has a port of the pod, of the Service and through the NetworkPolicy where the settings name one`,
    async t => {
      const port: number | undefined = settingsOf(set)['grpc-port']
      const grpc = (ports: Manifest[]) => ports.find(({ name }) => name === 'grpc')
      t.equal(grpc(serverOf(set).ports)?.containerPort, port)
      t.equal(grpc(of(set, 'Service').spec.ports)?.port, port)
      const policy = of(set, 'NetworkPolicy')
      if (!policy) return
      const open = policy.spec.ingress[0].ports.map((one: Manifest) => one.port)
      t.strictSame(open, port === undefined ? ['http'] : ['http', 'grpc'])
    },
  )

  t.test(`${set}: the pod gets no variables of Services, no root and no writable root`, async t => {
    const pod = podOf(set)
    t.equal(pod.enableServiceLinks, false)
    t.equal(pod.automountServiceAccountToken, false)
    t.match(pod.securityContext, {
      runAsNonRoot: true,
      runAsUser: 10001,
      fsGroup: 10001,
      seccompProfile: { type: 'RuntimeDefault' },
    })
    for (const container of [...(pod.initContainers ?? []), ...pod.containers]) {
      t.strictSame(container.securityContext, {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      })
      t.ok(container.resources.limits.memory, 'memory is bounded')
    }
  })

  t.test(`${set}: what the server writes, and what it reads, is mounted`, async t => {
    const pod = podOf(set)
    const volumes = new Set(pod.volumes.map(({ name }: Manifest) => name))
    const mounts: Manifest[] = serverOf(set).volumeMounts
    for (const container of [...(pod.initContainers ?? []), ...pod.containers])
      for (const { name } of container.volumeMounts) t.ok(volumes.has(name), `volume ${name}`)
    for (const path of ['/var/cache/turbo-pi', '/tmp'])
      t.notOk(mounts.find(({ mountPath }) => mountPath === path)?.readOnly, `${path} is writable`)
    const settings = settingsOf(set)
    const paths = [
      settings['api-keys'],
      settings['tls-cert'],
      settings['tls-key'],
      settings.record,
      settings.policy,
    ]
    for (const path of paths.flat().filter(Boolean)) {
      const directory = String(path).replace(/^[^/]*=/, '')
      t.ok(
        mounts.some(({ mountPath }) => directory === mountPath || directory.startsWith(`${mountPath}/`)),
        `${directory} is mounted`,
      )
    }
    for (const { persistentVolumeClaim: claim } of pod.volumes)
      if (claim?.claimName.startsWith('turbo-pi-'))
        t.ok(
          rendered(set).some(
            ({ kind, metadata }) => kind === 'PersistentVolumeClaim' && metadata.name === claim.claimName,
          ),
          claim.claimName,
        )
  })

  t.test(`${set}: it may take as long to end as the server does`, async t => {
    const drain = Math.ceil((settingsOf(set)['drain-timeout'] ?? 10_000) / 1000)
    const pause = serverOf(set).lifecycle?.preStop.sleep.seconds ?? 0
    t.ok(podOf(set).terminationGracePeriodSeconds > pause + drain + 2)
    t.ok(podOf(set).terminationGracePeriodSeconds <= pause + drain + 5)
  })

  t.test(`${set}: Service, budget and network policy mean these pods`, async t => {
    const { labels } = of(set, 'Deployment').spec.template.metadata
    const selectors = rendered(set).flatMap(({ kind, spec }) => {
      if (kind === 'Service') return [spec.selector]
      return kind === 'NetworkPolicy'
        ? [spec.podSelector.matchLabels]
        : spec?.selector
          ? [spec.selector.matchLabels]
          : []
    })
    t.ok(selectors.length >= 2)
    for (const selector of selectors) t.match(labels, selector)
    const ports = rendered(set).flatMap(({ kind, spec }) =>
      kind === 'Service' ? spec.ports.map(({ targetPort }: Manifest) => targetPort) : [],
    )
    t.strictSame(
      ports,
      serverOf(set).ports.map(({ name }: Manifest) => name),
    )
  })
}

t.test('pods that are all exchanged at once are so without the bounds of a rolling update', async t => {
  for (const set of valueSets()) {
    const { strategy } = of(set, 'Deployment').spec
    if (set === 'jetson') t.strictSame(strategy, { type: 'Recreate' })
    else
      t.match(strategy, {
        type: 'RollingUpdate',
        rollingUpdate: { maxSurge: ['gpu', 'cards'].includes(set) ? 0 : 1 },
      })
  }
})

t.test('with service links, the Service of the chart would keep the server from starting', async t => {
  const { metadata, spec } = of('anonymous', 'Service')
  const name = metadata.name.toUpperCase().replaceAll('-', '_')
  const links = {
    [`${name}_PORT`]: `tcp://10.0.0.1:${spec.ports[0].port}`,
    [`${name}_SERVICE_HOST`]: '10.0.0.1',
  }
  t.throws(() => requireKnownSettings({ ...environmentOf('anonymous'), ...links }), {
    code: 'CONFIG_INVALID',
    message: /enableServiceLinks: false/,
  })
})

t.test('probes ask routes that a server has, and that need no key', async t => {
  const { url } = await startServer({ config: { apiKey: 'secret' } })
  const asked = new Set<string>()
  for (const set of valueSets()) {
    const { startupProbe, readinessProbe, livenessProbe } = serverOf(set)
    for (const { httpGet } of [startupProbe, readinessProbe, livenessProbe]) {
      asked.add(httpGet.path)
      t.equal(httpGet.port, serverOf(set).ports[0].name)
      t.equal(httpGet.scheme, settingsOf(set)['tls-cert'] ? 'HTTPS' : 'HTTP', set)
    }
    t.equal(readinessProbe.httpGet.path, '/readyz')
  }
  t.strictSame([...asked].sort(), ['/healthz', '/readyz'])
  for (const path of asked) t.equal((await fetch(url + path)).status, 200, path)
  t.equal((await fetch(`${url}/metadata`)).status, 401)
})

t.test('keys stand in the Secret alone, as the server reads them', async t => {
  for (const set of ['keys', 'tls']) {
    const values = parse(readFileSync(repositoryPath(`deploy/helm/turbo-pi/ci/${set}.yaml`), 'utf8'))
    const secret = of(set, 'Secret')
    const file = join(t.testdir(), 'keys.json')
    writeFileSync(file, Buffer.from(secret.data['keys.json'], 'base64'))
    const ring = new KeyRing({ apiKeys: file })
    const text = readFileSync(repositoryPath(`test/deploy/helm/rendered/${set}.yaml`), 'utf8')
    for (const { name, key } of values.keys.list) {
      t.equal(ring.find(key)?.name, name)
      t.equal(Buffer.from(secret.data[name], 'base64').toString(), key)
      t.notOk(text.includes(key), 'nowhere in plain text')
    }
    const mounted = podOf(set).volumes.find(({ name }: Manifest) => name === 'keys').secret
    t.equal(mounted.secretName, secret.metadata.name)
  }
  for (const set of valueSets())
    for (const { name } of serverOf(set).env) t.notMatch(name, /KEY|TOKEN/, 'no variable holds a key')
})

t.test('a GPU is asked for, and TensorRT with it; without one neither is', async t => {
  for (const set of valueSets()) {
    const gpus = serverOf(set).resources.limits['nvidia.com/gpu']
    t.equal(gpus, { gpu: 1, autoscaled: 1, cards: 2 }[set], set)
    t.equal(settingsOf(set).devices, gpus > 1 ? 'all' : undefined, 'the server takes all that it has')
    if (set === 'jetson') continue
    t.equal(settingsOf(set).runtime, gpus ? 'tensorrt' : 'cpu', set)
    if (set !== 'tls') t.match(serverOf(set).image, gpus ? /-nvcr$/ : /-cpu$/, set)
  }
})

t.test('an init container pulls what is not there, and passes the rest on as it is', async t => {
  const { help } = await loadCommand('pull')
  for (const option of ['--to', '--sha256']) t.match(help(), option)
  const directory = t.testdir({ bin: {}, policies: {} })
  writeFileSync(
    join(directory, 'bin/node'),
    `#!/bin/sh\nprintf '%s\\n' "$@" > ${directory}/called\nmkdir "$4"\n`,
    {
      mode: 0o755,
    },
  )
  const { command } = podOf('gateway').initContainers[1]
  const there = command.map((word: string) => word.replace('/policies', join(directory, 'policies')))
  const env = { PATH: `${join(directory, 'bin')}:${process.env['PATH']}` }
  await run(there[0], there.slice(1), { env })
  t.strictSame(readFileSync(join(directory, 'called'), 'utf8').trim().split('\n'), [
    'dist/cli.js',
    'pull',
    '--to',
    join(directory, 'policies/hand'),
    'https://example.org/hand.tar.gz',
    '--sha256',
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  ])
  writeFileSync(join(directory, 'called'), '')
  await run(there[0], there.slice(1), { env })
  t.equal(readFileSync(join(directory, 'called'), 'utf8'), '', 'what is there is not pulled again')
  mkdirSync(join(directory, 'failing'))
  writeFileSync(join(directory, 'failing/node'), '#!/bin/sh\nexit 3\n', { mode: 0o755 })
  const other = there.map((word: string) => word.replace(/policies\/hand$/, 'policies/other'))
  const failing = { PATH: `${join(directory, 'failing')}:${process.env['PATH']}` }
  await t.rejects(run(other[0], other.slice(1), { env: failing }), { code: 3 })
  t.notOk(existsSync(join(directory, 'policies/other')))
})
