import { type ChildProcess, spawn } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Api } from './api.js'

/**
 * A Kubernetes of etcd, API server, controllers and scheduler, all real, on this machine, without containers: kwok plays the nodes,
 * and says of every pod that is scheduled that it runs and is ready.
 */
export class Cluster {
  readonly directory = mkdtempSync(join(tmpdir(), 'turbo-pi-kubernetes-'))
  readonly kubeconfig = join(this.directory, 'kubeconfig')
  readonly #bin: string
  readonly #stages: readonly string[]
  readonly #running: [name: string, process: ChildProcess][] = []
  #stopping = false
  api!: Api

  /** @param stages files that say how kwok plays nodes and pods. */
  constructor(bin: string, stages: readonly string[]) {
    this.#bin = bin
    this.#stages = stages
  }

  async start(): Promise<void> {
    const [etcd, peers, port] = (await Promise.all([freePort(), freePort(), freePort()])) as [
      number,
      number,
      number,
    ]
    const file = (name: string) => join(this.directory, name)
    const token = randomBytes(16).toString('hex')
    writeFileSync(file('tokens'), `${token},admin,admin,"system:masters"\n`)
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    writeFileSync(file('accounts.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }))
    writeFileSync(file('accounts.pub'), publicKey.export({ type: 'spki', format: 'pem' }))
    mkdirSync(file('certificates'))

    this.#run('etcd', [
      `--data-dir=${file('etcd')}`,
      `--listen-client-urls=http://127.0.0.1:${etcd}`,
      `--advertise-client-urls=http://127.0.0.1:${etcd}`,
      `--listen-peer-urls=http://127.0.0.1:${peers}`,
      `--initial-advertise-peer-urls=http://127.0.0.1:${peers}`,
      `--initial-cluster=default=http://127.0.0.1:${peers}`,
      '--unsafe-no-fsync',
    ])
    this.#run('kube-apiserver', [
      `--etcd-servers=http://127.0.0.1:${etcd}`,
      '--bind-address=127.0.0.1',
      // Nobody comes from elsewhere, and this machine's own address may be none.
      '--advertise-address=127.0.0.1',
      '--endpoint-reconciler-type=none',
      `--secure-port=${port}`,
      `--cert-dir=${file('certificates')}`,
      `--token-auth-file=${file('tokens')}`,
      '--authorization-mode=RBAC',
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${file('accounts.pub')}`,
      `--service-account-signing-key-file=${file('accounts.key')}`,
      '--service-cluster-ip-range=10.96.0.0/16',
    ])
    const certificate = file('certificates/apiserver.crt')
    this.api = new Api(port, token, certificate)
    await eventually('the API server', async () => (await this.api.get('/readyz')).status === 200, 120)

    writeFileSync(this.kubeconfig, kubeconfig(port, token, readFileSync(certificate)), { mode: 0o600 })
    this.#run('kube-controller-manager', [
      `--kubeconfig=${this.kubeconfig}`,
      `--service-account-private-key-file=${file('accounts.key')}`,
      '--leader-elect=false',
      '--secure-port=0',
    ])
    this.#run('kube-scheduler', [
      `--kubeconfig=${this.kubeconfig}`,
      '--leader-elect=false',
      '--secure-port=0',
    ])
    const stages = this.#stages.map(stage => `--config=${stage}`)
    this.#run('kwok', [`--kubeconfig=${this.kubeconfig}`, '--manage-all-nodes=true', ...stages])
  }

  /** A node of kwok. */
  async addNode(name: string, gpus: number): Promise<void> {
    const resources = {
      cpu: '64',
      memory: '512Gi',
      pods: '110',
      ...(gpus && { 'nvidia.com/gpu': String(gpus) }),
    }
    await this.api.create('/api/v1/nodes', {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name, labels: { 'kubernetes.io/hostname': name, 'kubernetes.io/arch': 'amd64' } },
      status: { capacity: resources, allocatable: resources },
    })
    await eventually(`node ${name}`, async () => {
      const { body } = await this.api.get(`/api/v1/nodes/${name}`)
      return body.status?.conditions?.some(
        ({ type, status }: { type: string; status: string }) => type === 'Ready' && status === 'True',
      )
    })
  }

  /** Last lines of what a program logged. */
  tailOf(name: string): string {
    return readFileSync(join(this.directory, `${name}.log`), 'utf8')
      .split('\n')
      .slice(-15)
      .join('\n')
  }

  async stop(): Promise<void> {
    this.#stopping = true
    for (const [, process] of this.#running.toReversed()) {
      if (process.exitCode !== null) continue
      const ended = new Promise(resolve => process.once('exit', resolve))
      process.kill('SIGTERM')
      await Promise.race([ended, sleep(5000).then(() => process.kill('SIGKILL'))])
    }
    rmSync(this.directory, { recursive: true, force: true })
  }

  #run(name: string, options: string[]): void {
    const log = openSync(join(this.directory, `${name}.log`), 'w')
    const child = spawn(join(this.#bin, name), options, { stdio: ['ignore', log, log], cwd: this.directory })
    closeSync(log)
    child.once('exit', code => {
      if (code && !this.#stopping) console.error(`${name} ended with ${code}:\n${this.tailOf(name)}`)
    })
    this.#running.push([name, child])
  }
}

const kubeconfig = (port: number, token: string, certificate: Buffer) =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'here',
        cluster: {
          server: `https://127.0.0.1:${port}`,
          'certificate-authority-data': certificate.toString('base64'),
        },
      },
    ],
    users: [{ name: 'admin', user: { token } }],
    contexts: [{ name: 'here', context: { cluster: 'here', user: 'admin' } }],
    'current-context': 'here',
  })

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise(resolve => server.close(resolve))
  return port
}

/** Waits until it is so; what it throws counts as not yet. */
export async function eventually(what: string, so: () => Promise<unknown>, seconds = 30): Promise<void> {
  const end = Date.now() + seconds * 1000
  let last: unknown
  while (Date.now() < end) {
    try {
      if (await so()) return
      last = undefined
    } catch (error) {
      last = error
    }
    await sleep(100)
  }
  throw new Error(`${what}: not within ${seconds} s`, { cause: last })
}
