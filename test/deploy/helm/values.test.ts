import { readFileSync } from 'node:fs'
import t from 'tap'
import type { TSchema } from 'typebox'
import { parse } from 'yaml'
import { flagOf, SETTINGS } from '../../../src/config.js'
import { compileCheck } from '../../../src/contract/validate.js'
import { SETTINGS_OF_THE_CHART } from '../../../tools/helm/values.js'
import { readDocument } from '../../support/documents.js'
import { type Manifest, valueSets } from '../../support/kubernetes.js'
import { repositoryPath } from '../../support/served-policy.js'

const read = (path: string) => readFileSync(repositoryPath(`deploy/helm/turbo-pi/${path}`), 'utf8')
const schema: Manifest = JSON.parse(read('values.schema.json'))
const check = compileCheck(schema as TSchema, 'CONFIG_INVALID')

t.test('the values of the chart, and those of the value sets, fit its schema', async t => {
  check(parse(read('values.yaml')))
  for (const set of valueSets()) t.doesNotThrow(() => check(parse(read(`ci/${set}.yaml`))), set)
})

t.test('so do the values that the guide shows', async t => {
  const shown = readDocument('docs/guides/kubernetes.md').blocks.filter(({ language }) => language === 'yaml')
  t.ok(shown.length >= 4)
  for (const { text, heading } of shown) t.doesNotThrow(() => check(parse(text)), heading)
})

t.test('a wrong name or value is refused, wherever it stands', async t => {
  const mistakes: object[] = [
    { replica: 2 },
    { image: { repo: 'a' } },
    { image: { pullPolicy: 'Sometimes' } },
    { image: { digest: 'latest' } },
    { gpus: 17 },
    { settings: { 'max-bach': 8 } },
    { settings: { maxBatch: 8 } },
    { settings: { 'max-batch': 0 } },
    { settings: { 'max-batch': '8' } },
    { settings: { runtime: 'gpu' } },
    { settings: { 'api-key': 'secret' } },
    { settings: { port: 80 } },
    { policies: { pull: [{ source: 'a/b' }] } },
    { keys: { list: [{ name: 'arm 1', key: 'a' }] } },
    { keys: { list: [{ name: 'arm-1', key: 'a b' }] } },
    { keys: { list: [{ name: 'keys.json', key: 'a' }] } },
    { service: { type: 'Cluster' } },
    { drain: { seconds: 5 } },
    { disruptionBudget: { maxUnavailable: 'one' } },
    { autoscaling: { utilisation: 70 } },
    { extraEnv: [{ name: 'TURBO_PI_MAX_BATCH', value: '8' }] },
  ]
  for (const values of mistakes)
    t.throws(() => check(values), { code: 'CONFIG_INVALID' }, JSON.stringify(values))
})

t.test('every group of the schema is closed', async t => {
  const open: string[] = []
  const visit = (node: Manifest, path: string) => {
    if (node.properties && path !== '/extraEnv/items' && node.additionalProperties !== false) open.push(path)
    for (const [name, child] of Object.entries(node.properties ?? {})) visit(child, `${path}/${name}`)
    if (node.items) visit(node.items, `${path}/items`)
  }
  visit(schema, '')
  t.strictSame(open, [])
})

t.test('every setting of the server is a value, or given by the chart', async t => {
  const names = Object.keys(SETTINGS).filter(name => name !== 'configFile')
  t.strictSame(
    Object.keys(schema.properties.settings.properties).sort(),
    names
      .filter(name => !(name in SETTINGS_OF_THE_CHART))
      .map(flagOf)
      .sort(),
  )
  for (const name of Object.keys(SETTINGS_OF_THE_CHART)) t.ok(name in SETTINGS, name)
})

t.test('the chart has the version of the server, and names images that a release pushes', async t => {
  const { version } = JSON.parse(readFileSync(repositoryPath('package.json'), 'utf8'))
  const chart = parse(read('Chart.yaml'))
  t.strictSame([chart.version, chart.appVersion], [version, version])
  const { target } = JSON.parse(readFileSync(repositoryPath('docker/bake.json'), 'utf8'))
  for (const image of ['cpu', 'nvcr'])
    t.strictSame(target[image].tags, [`\${REPOSITORY}:\${VERSION}-${image}`])
})
