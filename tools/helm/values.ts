import { type Static, type TObject, type TProperties, type TSchema, Type } from 'typebox'
import { flagOf, SETTINGS } from '../../src/config.js'
import { settingsSchema } from '../../src/settings/file.js'

/** Settings that the chart gives itself, or that must not stand in a ConfigMap, and what gives them. */
export const SETTINGS_OF_THE_CHART: Readonly<Record<string, string>> = {
  port: 'it is 8000 in the pod; `service.port` is the one that callers see',
  cacheDir: 'the volume of `cache`',
  apiKey: '`keys`',
  apiKeys: '`keys`',
  tlsCert: '`tls`',
  tlsKey: '`tls`',
  tlsClientCa: 'nobody could probe the pod: let a gateway or a mesh ask for client certificates',
}

/** What a settings file may have, less what the chart gives. */
const settings: TSchema = (() => {
  const { properties } = settingsSchema(
    Object.fromEntries(Object.entries(SETTINGS).filter(([name]) => !(name in SETTINGS_OF_THE_CHART))),
  )
  const { $schema: _, ...known } = properties
  return Type.Unsafe({
    type: 'object',
    description: `settings of the server by the names of their flags (docs/reference/config.md). The chart adds ${flagOf('host')} 0.0.0.0, ${flagOf('runtime')} tensorrt or cpu by \`gpus\`, and ${flagOf('devices')} all where there are several`,
    default: {},
    properties: known,
    additionalProperties: false,
  })
})()

const text = (description: string, value = '') => Type.String({ description, default: value })
const named = (description: string, value: string, pattern: string) =>
  Type.String({ description, default: value, pattern })
const switched = (description: string, value: boolean) => Type.Boolean({ description, default: value })
const count = (description: string, value: number, minimum: number, maximum: number) =>
  Type.Integer({ description, default: value, minimum, maximum })
const quantity = (description: string, value: string) => named(description, value, '^[0-9.]+([KMGTP]i?)?$')
const choice = <const T extends readonly string[]>(description: string, choices: T) =>
  Type.Unsafe<T[number]>({ type: 'string', description, default: choices[0], enum: [...choices] })
const pods = (description: string, value: number) =>
  Type.Unsafe<number | string>({
    description: `${description}; pods, or a percentage of them`,
    default: value,
    anyOf: [
      { type: 'integer', minimum: 0 },
      { type: 'string', pattern: '^[0-9]+%$' },
    ],
  })
const closed = <P extends TProperties>(description: string, properties: P) =>
  Type.Object(properties, { ...(description && { description }), additionalProperties: false })
/** A piece of Kubernetes' own, which the API server checks. */
const object = (description: string, value: object = {}) =>
  Type.Unsafe<object>({ type: 'object', description, default: value })
const objects = (description: string) =>
  Type.Unsafe<object[]>({ type: 'array', description, default: [], items: { type: 'object' } })
const labels = (description: string) =>
  Type.Unsafe<Record<string, string>>({
    type: 'object',
    description,
    default: {},
    additionalProperties: { type: 'string' },
  })
const list = <T extends TSchema>(description: string, items: T) =>
  Type.Array(items, { description, default: [] })

const claim = (size: string) =>
  closed('a claim; without a name, and not made, the volume lives as long as its pod', {
    name: text('name of a claim that is there'),
    create: switched('make one, which outlives the release', false),
    size: quantity('of the one that is made', size),
    storageClass: text('of the one that is made; the cluster’s default without'),
    accessModes: Type.Array(
      Type.Unsafe<string>({
        type: 'string',
        enum: ['ReadWriteOnce', 'ReadWriteMany', 'ReadWriteOncePod', 'ReadOnlyMany'],
      }),
      {
        description: 'of the one that is made; pods on several nodes need ReadWriteMany',
        default: ['ReadWriteOnce'],
        minItems: 1,
      },
    ),
  })

const NAME = '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'
const REQUIRED_TEXT = Type.String({ minLength: 1 })

/** Every value of the chart. `npm run generate` makes values.yaml, values.schema.json and README.md of it. */
export const VALUES = closed('Values of the Helm chart turbo-pi', {
  nameOverride: text('in place of the chart’s name'),
  fullnameOverride: text('name of all objects'),
  image: closed('what runs', {
    repository: named('registry and name', 'ghcr.io/turbo-pi/turbo-pi', '^[^:@\\s]+(:[0-9]+/[^:@\\s]+)?$'),
    tag: text('the chart’s appVersion with -cpu or -nvcr, by `gpus`, without'),
    digest: Type.String({
      description: 'sha256:…, which wins over the tag',
      default: '',
      pattern: '^(sha256:[0-9a-f]{64})?$',
    }),
    pullPolicy: choice('when it is pulled', ['IfNotPresent', 'Always', 'Never']),
    pullSecrets: list('Secrets of a private registry, each as name: …', closed('', { name: REQUIRED_TEXT })),
  }),
  replicas: count('pods; not used with autoscaling', 1, 0, 1000),
  gpus: count(
    'GPUs of a pod, each with its own engine behind one queue (--devices all). 0 is the CPU',
    0,
    0,
    16,
  ),
  gpuResource: named(
    'name by which the cluster counts GPUs, or slices of them',
    'nvidia.com/gpu',
    '^[^/\\s]+/[^/\\s]+$',
  ),
  runtimeClassName: text('nvidia, where the container runtime is chosen by class'),
  resources: object('requests and limits of the server; the GPUs are added', {
    requests: { cpu: '2', memory: '4Gi' },
    limits: { memory: '8Gi' },
  }),
  settings,
  policies: closed('checkpoints, at /policies', {
    pull: list(
      'checkpoints that an init container brings with `turbo-pi pull`, and that are served unless settings.policy says otherwise',
      closed('', {
        name: Type.String({ pattern: NAME, description: 'of the folder below /policies, and of the policy' }),
        source: Type.String({ minLength: 1, description: 'what `turbo-pi pull` takes' }),
        sha256: Type.Optional(
          Type.String({ pattern: '^[0-9a-fA-F]{64}$', description: 'checksum of an archive' }),
        ),
      }),
    ),
    tokenSecret: closed('Secret with the token of Hugging Face', {
      name: text('of the Secret'),
      key: text('within it', 'token'),
    }),
    claim: claim('50Gi'),
    sizeLimit: quantity('of the volume that is no claim', '50Gi'),
  }),
  cache: closed('lowered weights and engines, at /var/cache/turbo-pi; several pods may share them', {
    claim: claim('50Gi'),
    sizeLimit: quantity('of the volume that is no claim', '50Gi'),
  }),
  keys: closed('who may ask: without keys the server needs settings.allow-anonymous', {
    existingSecret: text('Secret with keys.json, as --api-keys takes it'),
    list: list(
      'or the keys themselves, of which the chart makes a Secret: keys.json, and each key under its name',
      closed('', {
        name: Type.Unsafe<string>({
          type: 'string',
          pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$',
          not: { const: 'keys.json' },
        }),
        key: Type.String({ pattern: '^[!-~]+$' }),
        requests_per_second: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
        in_flight: Type.Optional(Type.Integer({ minimum: 1 })),
        swap: Type.Optional(Type.Boolean()),
      }),
    ),
  }),
  tls: closed('HTTPS and WSS by the server itself', {
    secret: text('Secret of type kubernetes.io/tls; HTTP without'),
  }),
  service: closed('how pods are reached', {
    type: choice('of the Service', ['ClusterIP', 'NodePort', 'LoadBalancer']),
    port: count('of the Service', 8000, 1, 65_535),
    annotations: labels('of the Service'),
    sessionAffinity: choice('ClientIP keeps requests of one address at one pod, where no proxy is between', [
      'None',
      'ClientIP',
    ]),
  }),
  ingress: closed('Ingress', {
    enabled: switched('make one', false),
    className: text('ingressClassName'),
    host: text('name by which it is reached'),
    tlsSecret: text('Secret of its certificate; no TLS without'),
    annotations: labels('of the Ingress: affinity by a header, timeouts of WebSockets'),
  }),
  httpRoute: closed('HTTPRoute of the Gateway API', {
    enabled: switched('make one', false),
    parentRefs: objects('Gateways that it belongs to'),
    hostnames: list('names by which it is reached', REQUIRED_TEXT),
    annotations: labels('of the HTTPRoute'),
  }),
  probes: closed('what the kubelet asks', {
    startSeconds: count(
      'that a start may take until /readyz answers 200: lowering weights and building engines take minutes',
      3600,
      10,
      86_400,
    ),
    restartUnreadySeconds: count(
      'after which a pod that has been ready and is no longer is started anew, such as one whose GPU hangs; 0 asks /healthz alone and never does',
      0,
      0,
      86_400,
    ),
  }),
  drain: closed('how a pod ends', {
    preStopSeconds: count(
      'between the pod’s removal from the Service and SIGTERM, so that nobody is sent to it any more',
      5,
      0,
      600,
    ),
  }),
  strategy: closed('how pods are exchanged; where no GPU is spare, maxSurge 0 and maxUnavailable 1', {
    type: choice('of the Deployment', ['RollingUpdate', 'Recreate']),
    maxSurge: pods('of RollingUpdate: more than there shall be meanwhile', 1),
    maxUnavailable: pods('of RollingUpdate: fewer than there shall be meanwhile', 0),
  }),
  disruptionBudget: closed('PodDisruptionBudget', {
    enabled: switched('make one', true),
    maxUnavailable: pods('that may be evicted at a time', 1),
  }),
  autoscaling: closed('ScaledObject of KEDA, over what Prometheus has of the ServiceMonitor', {
    enabled: switched('make one', false),
    minReplicas: count('pods at least', 1, 0, 1000),
    maxReplicas: count('pods at most', 4, 1, 1000),
    prometheus: text('address of Prometheus', 'http://prometheus-operated.monitoring:9090'),
    authentication: text('TriggerAuthentication for it'),
    window: named('over which rates are taken', '2m', '^[0-9]+[smh]$'),
    queueWaitQuantile: Type.Number({
      description: 'of the waiting of requests',
      default: 0.9,
      exclusiveMinimum: 0,
      exclusiveMaximum: 1,
    }),
    queueWaitSeconds: Type.Number({
      description: 'that it may be; more replicas beyond. 0 does not look at it',
      default: 0.05,
      minimum: 0,
    }),
    utilisation: Type.Number({
      description: 'of the busiest lane, averaged over the pods; more replicas beyond. 0 does not look at it',
      default: 0.7,
      minimum: 0,
      maximum: 1,
    }),
    pollingSeconds: count('between questions', 15, 1, 3600),
    scaleDownSeconds: count(
      'of calm before a pod is taken away: its robots have to connect anew',
      300,
      0,
      3600,
    ),
  }),
  monitor: closed('ServiceMonitor of the Prometheus operator', {
    enabled: switched('make one', false),
    labels: labels('that the operator’s Prometheus selects by'),
    interval: named('between scrapes', '15s', '^[0-9]+(ms|s|m)$'),
    key: closed('key of the server for Prometheus, plain, in a Secret', {
      secret: text('its Secret; that of `keys` without'),
      name: text('within it', 'prometheus'),
    }),
    tlsConfig: object('how the server’s certificate is checked, with `tls`'),
  }),
  networkPolicy: closed(
    'NetworkPolicy: in by the server’s port alone; out to nowhere, but for what init containers pull',
    {
      enabled: switched('make one', true),
      from: objects('peers that may come in; everybody without'),
      egress: objects('further rules for what goes out'),
    },
  ),
  serviceAccountName: text('of the pods; the namespace’s default without. Its token is not mounted'),
  supplementalGroups: list(
    'groups of the process, such as the one that may use the GPU of a Jetson',
    Type.Integer({ minimum: 1 }),
  ),
  podAnnotations: labels('of the pods'),
  podLabels: labels('of the pods, beside the chart’s own'),
  nodeSelector: labels('of the pods'),
  tolerations: objects('of the pods'),
  affinity: object('of the pods'),
  topologySpreadConstraints: objects('of the pods'),
  priorityClassName: text('of the pods'),
  extraEnv: list(
    'further variables. Settings of the server belong into `settings`, and variables win over those: TURBO_PI_… are refused',
    Type.Unsafe<{ name: string }>({
      type: 'object',
      required: ['name'],
      properties: { name: { type: 'string', minLength: 1, not: { pattern: '^TURBO_PI_' } } },
    }),
  ),
  extraVolumes: objects('further volumes, such as one for recordings'),
  extraVolumeMounts: objects('where the server has them'),
})

export type Values = Static<typeof VALUES>

/** What values.yaml says. */
export function defaultsOf(schema: TSchema): unknown {
  if ('default' in schema) return schema.default
  const { properties = {} } = schema as unknown as Partial<TObject>
  return Object.fromEntries(Object.entries(properties).map(([name, value]) => [name, defaultsOf(value)]))
}
