import type { Manifest } from '../support/kubernetes.js'
import { repositoryPath } from '../support/served-policy.js'
import type { Cluster } from './cluster.js'
import type { Ended, Helm } from './programs.js'

export const CHART = repositoryPath('deploy/helm/turbo-pi')
export const NAMESPACE = 'robots'
export const PODS = `/api/v1/namespaces/${NAMESPACE}/pods`
export const NODE = '/api/v1/nodes/node-1'

export interface Context {
  cluster: Cluster
  helm: Helm
  /** Folder of KServe's definitions, when one was given. */
  kserve: string | undefined
}

export function require(so: boolean, otherwise: string): asserts so {
  if (!so) throw new Error(otherwise)
}

/** What helm said that counts: the last line. */
export const said = ({ stderr, stdout }: Ended) => (stderr.trim() || stdout.trim()).split('\n').at(-1)!.trim()

export async function succeeds(helm: Helm, ...options: string[]): Promise<Ended> {
  const ended = await helm(...options)
  require(ended.code === 0, `helm ${options.join(' ')}: ${ended.stderr}`)
  return ended
}

export const release = (...values: string[]) => ['turbo-pi', CHART, '--namespace', NAMESPACE, ...values]
export const KEYED = ['--set', 'keys.existingSecret=turbo-pi-keys', '--set', 'resources.requests.memory=1Gi']
export const WAIT = ['--wait', '--timeout', '90s']

export async function pods({ cluster }: Context): Promise<Manifest[]> {
  const { body } = await cluster.api.get(`${PODS}?labelSelector=app.kubernetes.io/instance%3Dturbo-pi`)
  return body.items.filter(({ metadata }: Manifest) => !metadata.deletionTimestamp)
}
export const isReady = ({ status }: Manifest) =>
  status.conditions?.some(({ type, status: is }: Manifest) => type === 'Ready' && is === 'True')
export const readyPods = async (context: Context) => (await pods(context)).filter(isReady)

export async function revision({ helm }: Context): Promise<{ revision: number; status: string }> {
  const { stdout } = await succeeds(helm, 'history', 'turbo-pi', '--namespace', NAMESPACE, '--output', 'json')
  return JSON.parse(stdout).at(-1)
}

export async function settings({ cluster }: Context): Promise<string> {
  const { body } = await cluster.api.get(`/api/v1/namespaces/${NAMESPACE}/configmaps/turbo-pi`)
  return body.data['settings.yaml']
}

export const evict = ({ cluster }: Context, { metadata: { name } }: Manifest) =>
  cluster.api.send('POST', `${PODS}/${name}/eviction`, {
    apiVersion: 'policy/v1',
    kind: 'Eviction',
    metadata: { name, namespace: NAMESPACE },
  })
