import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Manifest, manifestsOf } from '../support/kubernetes.js'
import { eventually } from './cluster.js'
import { DEFINITIONS, definitionsIn, definitionsOf } from './programs.js'
import {
  CHART,
  type Context,
  evict,
  isReady,
  KEYED,
  NAMESPACE,
  NODE,
  pods,
  readyPods,
  release,
  require,
  revision,
  said,
  settings,
  succeeds,
  WAIT,
} from './release.js'

export interface Step {
  name: string
  /** Throws when it is not as promised; returns what was seen. */
  run(context: Context): Promise<string>
}

/** In this order: each goes on where the one before has left the cluster. */
export const STEPS: readonly Step[] = [
  {
    name: 'custom resources of KEDA, the Prometheus operator, the Gateway API and KServe',
    async run({ cluster, kserve }) {
      const all = (
        await Promise.all(DEFINITIONS.map(([module, files]) => definitionsOf(module, files)))
      ).flat()
      if (kserve) all.push(...definitionsIn(kserve))
      const path = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
      for (const definition of all) await cluster.api.create(path, definition)
      for (const { metadata, spec } of all)
        await eventually(metadata.name, async () => {
          const { status } = await cluster.api.get(
            `/apis/${spec.group}/${spec.versions[0].name}/${spec.names.plural}`,
          )
          return status === 200
        })
      return all.map(({ spec }) => spec.names.kind).join(', ')
    },
  },
  {
    name: 'every value set is installed, each in a namespace of its own',
    async run({ cluster, helm }) {
      const sets = readdirSync(join(CHART, 'ci')).map(file => file.replace(/\.yaml$/, ''))
      let objects = 0
      for (const set of sets) {
        const options = ['--namespace', `set-${set}`, '--values', join(CHART, 'ci', `${set}.yaml`)]
        await succeeds(helm, 'install', 'turbo-pi', CHART, '--create-namespace', ...options)
        const { stdout } = await succeeds(helm, 'get', 'manifest', 'turbo-pi', '--namespace', `set-${set}`)
        objects += stdout.match(/^kind: /gm)?.length ?? 0
        await succeeds(helm, 'uninstall', 'turbo-pi', '--namespace', `set-${set}`)
      }
      const { body } = await cluster.api.get('/api/v1/namespaces/set-gpu/persistentvolumeclaims')
      const kept = body.items.map(({ metadata }: Manifest) => metadata.name).join(', ')
      require(kept === 'turbo-pi-cache, turbo-pi-policies', `claims that are kept: ${kept}`)
      return `${sets.length} sets, ${objects} objects; uninstalled, and the claims ${kept} are kept`
    },
  },
  {
    name: 'install --wait: two replicas',
    async run(context) {
      const { cluster, helm } = context
      await cluster.api.create('/api/v1/namespaces', {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name: NAMESPACE },
      })
      const keys = JSON.stringify([{ name: 'arm-1', key: '0123456789abcdef' }])
      await cluster.api.create(`/api/v1/namespaces/${NAMESPACE}/secrets`, {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: 'turbo-pi-keys' },
        stringData: { 'keys.json': keys },
      })
      await succeeds(helm, 'install', ...release(...KEYED, '--set', 'replicas=2', ...WAIT))
      const [pod] = await readyPods(context)
      require((await readyPods(context)).length === 2, 'helm came back before both pods were ready')
      require(pod.spec.enableServiceLinks === false, 'the pod has service links')
      const { body } = await cluster.api.get(
        `/apis/discovery.k8s.io/v1/namespaces/${NAMESPACE}/endpointslices?labelSelector=kubernetes.io/service-name%3Dturbo-pi`,
      )
      const there = body.items.flatMap(({ endpoints }: Manifest) => endpoints ?? [])
      require(there.length === 2, `the Service has ${there.length} endpoints`)
      return `2 pods ready, both behind the Service, enableServiceLinks false, grace ${pod.spec.terminationGracePeriodSeconds} s`
    },
  },
  {
    name: 'upgrade --wait: three replicas, another setting',
    async run(context) {
      const before = new Set((await pods(context)).map(({ metadata }) => metadata.name))
      await succeeds(
        context.helm,
        'upgrade',
        ...release(...KEYED, '--set', 'replicas=3', '--set', 'settings.max-batch=4', ...WAIT),
      )
      const now = await readyPods(context)
      require(now.length === 3, `${now.length} pods are ready`)
      require(!now.some(({ metadata }) =>
        before.has(metadata.name),
      ), 'a pod has outlived the change of its settings')
      require(/^max-batch: 4$/m.test(await settings(context)), 'the setting did not arrive')
      return '3 new pods ready; the ConfigMap says max-batch: 4'
    },
  },
  {
    name: 'a typo in a setting is refused',
    async run(context) {
      const ended = await context.helm('upgrade', ...release(...KEYED, '--set', 'settings.max-bach=4'))
      require(ended.code !== 0 && /max-bach/.test(ended.stderr), `helm said: ${ended.stderr}`)
      require((await revision(context)).revision === 2, 'there is a new revision')
      const line = ended.stderr.split('\n').find(text => text.includes('max-bach'))!
      return `${line.trim().replace(/^- /, '')}; still revision 2`
    },
  },
  {
    name: 'a typo in a piece of Kubernetes’ own is refused by the API server',
    async run(context) {
      const typo = ['--set', 'affinity.podAntiAfinity.x=y', '--set', 'replicas=3']
      const ended = await context.helm('upgrade', ...release(...KEYED, ...typo))
      require(ended.code !== 0 && /podAntiAfinity/.test(ended.stderr), `helm said: ${ended.stderr}`)
      require((await readyPods(context)).length === 3, 'pods were lost')
      return `${said(ended).replace(/^.*?((?:unknown field|\.spec)[^:]*podAntiAfinity.*)$/, '$1')}; 3 pods ready as before`
    },
  },
  {
    name: 'an upgrade that cannot become ready, and rollback --wait',
    async run(context) {
      const gpus = ['--set', 'gpus=1', '--set', 'replicas=3']
      const ended = await context.helm('upgrade', ...release(...KEYED, ...gpus, '--wait', '--timeout', '10s'))
      require(ended.code !== 0, 'helm found it ready')
      const running = (await readyPods(context)).length
      require(running === 3, `${running} of 3 pods were left`)
      const pending = (await pods(context)).find(pod => !isReady(pod))
      const why = pending?.status.conditions
        .find(({ type }: Manifest) => type === 'PodScheduled')
        ?.message.split('. ')[0]
      await succeeds(context.helm, 'rollback', 'turbo-pi', '1', '--namespace', NAMESPACE, ...WAIT)
      require((await readyPods(context)).length === 2, 'revision 1 had two pods')
      require(!/max-batch/.test(await settings(context)), 'the setting of revision 2 is still there')
      return `${why}; the 3 old pods served on; after the rollback to revision 1: 2 pods, no max-batch`
    },
  },
  {
    name: 'an upgrade to one GPU a replica, strategy Recreate: three replicas, two GPUs',
    async run(context) {
      await context.cluster.addNode('node-gpu', 2)
      const gpus = ['--set', 'gpus=1', '--set', 'replicas=3', '--set', 'strategy.type=Recreate']
      await succeeds(context.helm, 'upgrade', ...release(...KEYED, ...gpus))
      await eventually('two pods with a GPU', async () => (await readyPods(context)).length === 2)
      await eventually('the third waits', async () =>
        (await pods(context)).some(({ status }) =>
          status.conditions?.some(({ message = '' }: Manifest) =>
            message.includes('Insufficient nvidia.com/gpu'),
          ),
        ),
      )
      const nodes = new Set((await readyPods(context)).map(({ spec }) => spec.nodeName))
      require(nodes.size === 1 && nodes.has('node-gpu'), `pods run on ${[...nodes]}`)
      return '2 pods on the node with 2 GPUs, the third waits: Insufficient nvidia.com/gpu'
    },
  },
  {
    name: 'disruption budget: one eviction at a time',
    async run(context) {
      await succeeds(context.helm, 'upgrade', ...release(...KEYED, '--set', 'replicas=3', ...WAIT))
      const budget = `/apis/policy/v1/namespaces/${NAMESPACE}/poddisruptionbudgets/turbo-pi`
      const allowed = async () => (await context.cluster.api.get(budget)).body.status.disruptionsAllowed
      await eventually('one eviction is allowed', async () => (await allowed()) === 1)
      const [first, second] = await readyPods(context)
      for (const node of [NODE, '/api/v1/nodes/node-gpu'])
        await context.cluster.api.merge(node, { spec: { unschedulable: true } })
      const gone = await evict(context, first)
      require(gone.status === 201, `the first eviction: ${gone.status} ${gone.body.message}`)
      await eventually('no further one', async () => (await allowed()) === 0)
      const refused = await evict(context, second)
      require(refused.status === 429, `the second eviction: ${refused.status}`)
      await context.cluster.api.merge(NODE, { spec: { unschedulable: false } })
      await eventually('one is allowed again', async () => (await allowed()) === 1)
      return `the first: 201; the second, while no pod takes its place: 429 ${refused.body.message}; allowed again once one had`
    },
  },
  {
    name: 'KServe’s ServingRuntime and InferenceService',
    async run({ cluster, kserve }) {
      if (!kserve) return 'not tried: --kserve-crds names no folder'
      const files = { servingruntimes: 'v1alpha1', inferenceservices: 'v1beta1' }
      for (const [plural, version] of Object.entries(files)) {
        const [object] = manifestsOf(`deploy/kserve/${plural.slice(0, -1)}.yaml`)
        const path = `/apis/serving.kserve.io/${version}/namespaces/${NAMESPACE}/${plural}`
        await cluster.api.create(path, object)
        const typo = structuredClone(object)
        typo.metadata.name = 'typo'
        typo.spec.containrs = []
        const { status } = await cluster.api.send('POST', `${path}?fieldValidation=Strict`, typo)
        require(status === 400, `a typo in it: ${status}`)
      }
      return 'both are taken, and a typo in either is refused: 400'
    },
  },
  {
    name: 'uninstall leaves nothing',
    async run(context) {
      await succeeds(context.helm, 'uninstall', 'turbo-pi', '--namespace', NAMESPACE, ...WAIT)
      await eventually('the pods are gone', async () => (await pods(context)).length === 0)
      const kinds = ['api/v1', 'apis/apps/v1', 'apis/policy/v1', 'apis/networking.k8s.io/v1']
      const lists = ['services', 'deployments', 'poddisruptionbudgets', 'networkpolicies']
      for (const [index, list] of lists.entries()) {
        const { body } = await context.cluster.api.get(`/${kinds[index]}/namespaces/${NAMESPACE}/${list}`)
        require(body.items.length === 0, `${list} are left`)
      }
      return 'no pod, Service, Deployment, budget or policy'
    },
  },
]
