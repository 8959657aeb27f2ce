import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { repositoryPath } from '../support/served-policy.js'

/** A Node.js and an npm to try the packages with. */
export interface Machine {
  node: string
  /** npm-cli.js; its npx-cli.js lies beside it. */
  npm: string
  /** For people: "Node.js 24.21.0, npm 12.2.2". */
  name: string
}

/** Node.js and npm as packages of the registry: versions that exist, so that a run can be repeated. */
export const NODES = [process.arch === 'arm64' ? '20.18.0' : '20.17.0', '22.23.3', '24.21.0']
export const NPMS = ['10.9.9', '11.19.1', '12.2.2']
/** npm refuses a Node.js that is older than this. */
const OLDEST_NODE: Readonly<Record<string, number>> = { '12.2.2': 22 }

/** Whether an npm runs on a Node.js, by their versions. */
export const together = (node: string, npm: string) => Number.parseInt(node, 10) >= (OLDEST_NODE[npm] ?? 0)

/** The Node.js and npm that run this. */
export function thisMachine(): Machine {
  const npm = process.env['npm_execpath'] ?? ''
  const version = execFileSync(process.execPath, [npm, '--version'], { encoding: 'utf8' }).trim()
  return { node: process.execPath, npm, name: `Node.js ${process.versions.node}, npm ${version}` }
}

/** Downloads a Node.js and an npm of these versions below `folder`; with `npm` undefined, the one at hand. */
export function fetchMachine(folder: string, node: string, npm?: string): Machine {
  const own = thisMachine()
  const bin = join(fetchPackage(folder, `node-linux-${process.arch}`, node), 'bin/node')
  const cli = npm ? join(fetchPackage(folder, 'npm', npm), 'bin/npm-cli.js') : own.npm
  const machine = { node: bin, npm: cli, name: `Node.js ${node}, npm ${npm ?? 'of this machine'}` }
  return machine
}

const fetched = new Map<string, string>()

function fetchPackage(folder: string, name: string, version: string): string {
  const id = `${name}-${version}`
  const known = fetched.get(id)
  if (known) return known
  const project = emptyProject(join(folder, id))
  runNpm(thisMachine(), project, ['install', '--ignore-scripts', `${name}@${version}`])
  const place = join(project, 'node_modules', name)
  fetched.set(id, place)
  return place
}

/** A folder with nothing but a package.json. */
export function emptyProject(folder: string): string {
  mkdirSync(folder, { recursive: true })
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({ name: 'empty', version: '1.0.0', type: 'module' }),
  )
  return folder
}

/** The environment in which a machine's Node.js and npm are the ones that are found; none of an npm that runs this. */
export function environment(machine: Machine): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !/^npm_|^NODE_OPTIONS$|^INIT_CWD$/i.test(name))
  return {
    ...Object.fromEntries(own),
    PATH: [dirname(machine.node), process.env['PATH']].join(delimiter),
  }
}

/** Runs npm; returns all that it printed. Throws with it when npm fails. */
export function runNpm(machine: Machine, folder: string, args: string[]): string {
  const options = { cwd: folder, env: environment(machine), encoding: 'utf8', maxBuffer: 2 ** 26 } as const
  const { status, stdout, stderr } = spawnSync(machine.node, [machine.npm, ...args], options)
  if (status !== 0)
    throw new Error(`npm ${args.join(' ')} in ${folder} with ${machine.name}:\n${stdout}${stderr}`)
  return `${stdout}${stderr}`
}

/** Packs this repository, or a workspace of it, into `folder`: `npm pack` as anybody types it. Returns the tarball. */
export function pack(folder: string, workspace?: string): string {
  const args = ['pack', '--json', '--pack-destination', folder, ...(workspace ? ['-w', workspace] : [])]
  const output = runNpm(thisMachine(), repositoryPath('.'), args)
  const name = /"filename": "([^"]+)"/.exec(output)?.[1]
  if (!name) throw new Error(`npm pack printed no file name: ${output}`)
  return join(folder, name.replace('@', '').replace('/', '-'))
}
