import { readdirSync, readFileSync } from 'node:fs'
import { parseAllDocuments } from 'yaml'
import { repositoryPath } from './served-policy.js'

/** Any object of Kubernetes; tests look into it as it is. */
// biome-ignore lint/suspicious/noExplicitAny: what is in it is what the tests are about
export type Manifest = any

/** Objects of a file of several YAML documents. */
export function manifestsOf(path: string): Manifest[] {
  return parseAllDocuments(readFileSync(repositoryPath(path), 'utf8'))
    .map(document => document.toJS({ mapAsMap: false }))
    .filter(value => value !== null)
}

export const RENDERED = 'test/deploy/helm/rendered'

/** Names of the chart's value sets, each of which has its kept rendering. */
export const valueSets = (): string[] =>
  readdirSync(repositoryPath('deploy/helm/turbo-pi/ci')).map(file => file.replace(/\.yaml$/, ''))

export const rendered = (set: string): Manifest[] => manifestsOf(`${RENDERED}/${set}.yaml`)

type Kind = { prototype: object }

/** Where npm has the schemas of an API group. */
function packageOf(apiVersion: string): string {
  if (apiVersion.startsWith('keda.sh/')) return `@kubernetes-models/keda/${apiVersion}`
  if (apiVersion.startsWith('monitoring.coreos.com/'))
    return `@kubernetes-models/prometheus-operator/${apiVersion}`
  if (apiVersion.startsWith('gateway.networking.k8s.io/'))
    return `@kubernetes-models/gateway-api/${apiVersion}`
  return `kubernetes-models/${apiVersion}`
}

/** What Kubernetes' schemas have against an object: values that do not fit, and fields that no schema asks for. */
export async function faultsOf(manifest: Manifest): Promise<string[]> {
  const { apiVersion, kind } = manifest
  const kinds = (await import(packageOf(apiVersion))) as Record<string, Kind>
  const Model = kinds[kind]
  if (!Model) return [`there is no ${kind} in ${apiVersion}`]
  const watch = new ReadFields()
  try {
    // Without its constructor, which copies all fields and so would read them.
    watch.watched(Object.assign(Object.create(Model.prototype), manifest), '').validate()
  } catch (error) {
    return [(error as Error).message]
  }
  return watch.unread(manifest).map(path => `no schema knows ${path}`)
}

/** Checkers of `kubernetes-models` let unknown fields pass, as the API server does not; but they read every field that they know. */
class ReadFields {
  readonly #read = new Set<string>()

  watched<T>(value: T, path: string): T {
    if (typeof value !== 'object' || value === null) return value
    return new Proxy(value, {
      get: (target, key) => {
        if (typeof key === 'symbol') return Reflect.get(target, key)
        this.#read.add(`${path}/${key}`)
        return this.watched(Reflect.get(target, key), `${path}/${key}`)
      },
    })
  }

  unread(value: Manifest, path = ''): string[] {
    if (typeof value !== 'object' || value === null) return []
    return Object.entries(value).flatMap(([key, child]) => {
      const place = `${path}/${key}`
      return this.#read.has(place) ? this.unread(child, place) : [place]
    })
  }
}
