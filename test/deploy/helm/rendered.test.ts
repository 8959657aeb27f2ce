import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { faultsOf, type Manifest, RENDERED, rendered, valueSets } from '../../support/kubernetes.js'
import { repositoryPath } from '../../support/served-policy.js'

const CHART = 'deploy/helm/turbo-pi'
const read = (path: string) => readFileSync(repositoryPath(path))

/** The digest that deploy/helm/check.sh writes above a rendering. */
function digestFor(set: string): string {
  const files = (readdirSync(repositoryPath(CHART), { recursive: true, withFileTypes: true }) as Manifest[])
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(repositoryPath(CHART).length + 1))
    .filter(file => file !== 'README.md' && !file.startsWith('ci/'))
    .sort((a, b) => (a < b ? -1 : 1))
  const digest = createHash('sha256')
  for (const file of [...files, `ci/${set}.yaml`]) digest.update(read(`${CHART}/${file}`))
  return digest.digest('hex')
}

t.test(
  'eleven value sets are rendered, by the chart as it is now; else bash deploy/helm/check.sh --update',
  async t => {
    t.equal(valueSets().length, 11)
    t.strictSame(
      readdirSync(repositoryPath(RENDERED)).sort(),
      valueSets()
        .map(set => `${set}.yaml`)
        .sort(),
    )
    for (const set of valueSets()) {
      const [first] = read(`${RENDERED}/${set}.yaml`).toString().split('\n')
      t.equal(first, `# ${digestFor(set)}`, set)
    }
  },
)

for (const set of valueSets()) {
  t.test(`${set}: every object is one that Kubernetes takes`, async t => {
    const objects = rendered(set)
    t.ok(objects.length >= 3)
    for (const object of objects)
      t.strictSame(await faultsOf(object), [], `${object.kind} ${object.metadata.name}`)
    const names = objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`)
    t.equal(new Set(names).size, names.length, 'no two of the same name')
  })
}

t.test('each kind of object is there in some set', async t => {
  const kinds = new Set(valueSets().flatMap(set => rendered(set).map(({ kind }) => kind)))
  t.strictSame([...kinds].sort(), [
    'ConfigMap',
    'Deployment',
    'HTTPRoute',
    'Ingress',
    'NetworkPolicy',
    'PersistentVolumeClaim',
    'PodDisruptionBudget',
    'ScaledObject',
    'Secret',
    'Service',
    'ServiceMonitor',
  ])
})

t.test('the check sees a value that does not fit, and a field that nobody knows', async t => {
  const deployment = () => rendered('anonymous').find(({ kind }) => kind === 'Deployment')
  const wrong = deployment()
  wrong.spec.replicas = 'two'
  t.match(await faultsOf(wrong), [/replicas must be integer/])
  const unknown = deployment()
  unknown.spec.template.spec.enableServiceLink = false
  t.strictSame(await faultsOf(unknown), ['no schema knows /spec/template/spec/enableServiceLink'])
})
