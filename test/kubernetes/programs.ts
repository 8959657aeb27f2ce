import { execFile } from 'node:child_process'
import { readdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { parseAllDocuments } from 'yaml'
import type { Manifest } from '../support/kubernetes.js'

const run = promisify(execFile)
const HERE = fileURLToPath(new URL('.', import.meta.url))

/** Builds etcd, Kubernetes, kwok and helm from the Go module of this folder. Without optimisation, which takes long. */
export async function buildPrograms(directory: string): Promise<void> {
  const [version, major, minor] = /^v(\d+)\.(\d+)\..*$/.exec(await moduleOf('k8s.io/kubernetes', 'Version'))!
  const said = Object.entries({ gitVersion: version, gitMajor: major, gitMinor: minor }).map(
    ([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`,
  )
  const flags = ['-gcflags=all=-N -l -dwarf=false', `-ldflags=-s -w ${said.join(' ')}`, '-o', `${directory}/`]
  await run('go', ['build', '-C', HERE, ...flags, 'tool'], {
    env: { ...process.env, CGO_ENABLED: '0' },
    maxBuffer: 2 ** 26,
  })
  // Its folder is its name.
  renameSync(join(directory, 'server'), join(directory, 'etcd'))
}

async function moduleOf(name: string, field: 'Dir' | 'Version'): Promise<string> {
  const { stdout } = await run('go', ['list', '-C', HERE, '-m', '-f', `{{.${field}}}`, name])
  return stdout.trim()
}

/** Files of kwok by which its nodes get ready, and pods on them run, are ready, and go when they are deleted. */
export async function kwokStages(): Promise<string[]> {
  const folder = join(await moduleOf('sigs.k8s.io/kwok', 'Dir'), 'kustomize/stage')
  return [
    'node/fast/node-initialize',
    'node/heartbeat/node-heartbeat',
    'pod/fast/pod-ready',
    'pod/fast/pod-delete',
  ].map(file => join(folder, `${file}.yaml`))
}

/** Custom resources whose definitions stand in Go modules. */
export const DEFINITIONS: readonly (readonly [module: string, files: readonly string[]])[] = [
  ['github.com/kedacore/keda/v2@v2.21.0', ['config/crd/bases/keda.sh_scaledobjects.yaml']],
  [
    'github.com/prometheus-operator/prometheus-operator@v0.85.0',
    ['example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml'],
  ],
  ['sigs.k8s.io/gateway-api@v1.4.1', ['config/crd/standard/gateway.networking.k8s.io_httproutes.yaml']],
]

export async function definitionsOf(module: string, files: readonly string[]): Promise<Manifest[]> {
  const { stdout } = await run('go', ['mod', 'download', '-json', module])
  const { Dir } = JSON.parse(stdout)
  return files.flatMap(file => objectsIn(join(Dir, file)))
}

/** KServe's, which stand in no module that can be had: of a directory of its repository, config/crd/full. */
export const definitionsIn = (directory: string): Manifest[] =>
  readdirSync(directory)
    .filter(file => /serving\.kserve\.io_(?:servingruntimes|inferenceservices)\.yaml$/.test(file))
    .flatMap(file => objectsIn(join(directory, file)))

const objectsIn = (file: string): Manifest[] =>
  parseAllDocuments(readFileSync(file, 'utf8'))
    .map(document => document.toJS())
    .filter(Boolean)

export interface Ended {
  code: number
  stdout: string
  stderr: string
}

/** helm of this cluster, with nothing of the user's. */
export const helmOf =
  (bin: string, kubeconfig: string, home: string) =>
  async (...options: string[]): Promise<Ended> => {
    const env = {
      PATH: process.env['PATH'],
      HOME: home,
      KUBECONFIG: kubeconfig,
      HELM_CACHE_HOME: home,
      HELM_CONFIG_HOME: home,
      HELM_DATA_HOME: home,
    }
    try {
      return { code: 0, ...(await run(join(bin, 'helm'), options, { env, maxBuffer: 2 ** 26 })) }
    } catch (error) {
      return error as Ended
    }
  }

export type Helm = ReturnType<typeof helmOf>
