/**
 * npm run test:package: packs the server and the TypeScript client, checks what is in them, installs them in empty projects,
 * serves and asks: with the npm at hand, on every Node.js that is supported. `-- --matrix` also installs them with every npm on
 * every Node.js (docs/reference/package.md has its table); `-- --server TARBALL --client TARBALL` takes packages as they are.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { repositoryPath } from '../support/served-policy.js'
import { checkClient, checkServer, installedMb } from './contents.js'
import {
  emptyProject,
  environment,
  fetchMachine,
  type Machine,
  NODES,
  NPMS,
  pack,
  runNpm,
  thisMachine,
  together,
} from './machine.js'
import { npxServe, serveOnce } from './serving.js'

/** MB on the disk that were promised. */
const MOST_INSTALLED = 180

const { values: given } = parseArgs({
  options: { server: { type: 'string' }, client: { type: 'string' }, matrix: { type: 'boolean' } },
})
const folder = mkdtempSync(join(tmpdir(), 'turbo-pi-package-'))
const own = thisMachine()
const tool = (name: string) => repositoryPath(`node_modules/${name}`)
const runTool = (file: string, args: string[], cwd = folder) =>
  execFileSync(process.execPath, [tool(file), ...args], {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })

let failures = 0
async function step<T>(name: string, body: () => Promise<[T, ...notes: string[]]>): Promise<T | undefined> {
  const start = performance.now()
  try {
    const [result, ...notes] = await body()
    const seconds = `${((performance.now() - start) / 1000).toFixed(1)} s`
    console.log(`ok - ${[name, ...notes].join('; ')} (${seconds})`)
    return result
  } catch (error) {
    failures++
    console.log(`not ok - ${name}\n${error instanceof Error ? error.message : error}`)
    return undefined
  }
}

/** Installs the packages in an empty project, and serves from there. Returns the project. */
async function installAndServe(
  machine: Machine,
  tarballs: readonly string[],
): Promise<[string, ...string[]]> {
  const project = emptyProject(join(folder, machine.name.replace(/\W+/g, '-')))
  const output = runNpm(machine, project, ['install', ...tarballs])
  if (/EBADENGINE|deprecated/.test(output)) throw new Error(output)
  const size = installedMb(project)
  if (size > MOST_INSTALLED) throw new Error(`${size} MB installed; at most ${MOST_INSTALLED} were promised`)
  await serveOnce(machine, project, join(project, 'cache'), npxServe(machine))
  return [project, `${size.toFixed(0)} MB installed`]
}

/** What is installed serves on another Node.js as well. */
async function serveOn(machine: Machine, project: string): Promise<[undefined]> {
  await serveOnce(machine, project, join(project, 'cache'), npxServe(machine))
  return [undefined]
}

/** A robot's program and an embedding one compile against the packages, without looking away from their types, and run. */
async function consume(project: string): Promise<[undefined]> {
  cpSync(repositoryPath('test/package/consumer'), project, { recursive: true })
  const options = ['--module', 'nodenext', '--target', 'es2022', '--strict', '--exactOptionalPropertyTypes']
  const types = ['--types', 'node', '--typeRoots', tool('@types')]
  runTool('typescript/bin/tsc', [...options, ...types, 'robot.ts'], project)
  runTool('typescript/bin/tsc', [...options, ...types, '--skipLibCheck', 'embed.ts'], project)
  const image = (name: string) => readFileSync(repositoryPath(`examples/${name}`)).toString('base64')
  const run = (args: string[]) =>
    execFileSync(own.node, args, { cwd: project, env: environment(own), encoding: 'utf8' })
  await serveOnce(own, project, join(project, 'cache'), npxServe(own), async address => {
    run(['robot.js', address, image('image.jpg'), image('wrist_image.jpg')])
  })
  run(['embed.js', join(project, 'node_modules/turbo-pi/policies/tabletop')])
  return [undefined]
}

/** The client brings `ws` and nothing else. */
async function clientAlone(tarball: string): Promise<[undefined, string]> {
  const project = emptyProject(join(folder, 'client-alone'))
  runNpm(own, project, ['install', tarball])
  const names = readdirSync(join(project, 'node_modules')).filter(name => !name.startsWith('.'))
  if (names.join(' ') !== '@turbo-pi ws') throw new Error(`installed: ${names.join(', ')}`)
  return [undefined, `${installedMb(project).toFixed(1)} MB installed`]
}

try {
  const server = await step('npm pack of the server', async () => {
    const tarball = given.server ? resolve(given.server) : pack(folder)
    return [tarball, checkServer(tarball)]
  })
  const client = await step('npm pack of @turbo-pi/client', async () => {
    const tarball = given.client ? resolve(given.client) : pack(folder, '@turbo-pi/client')
    return [tarball, checkClient(tarball)]
  })
  if (!server || !client) throw new Error('There is nothing to install.')
  for (const [name, tarball] of [
    ['turbo-pi', server],
    ['@turbo-pi/client', client],
  ] as const) {
    await step(`publint of ${name}`, async () => {
      runTool('publint/src/cli.js', [tarball, '--strict'])
      return [undefined]
    })
    await step(`types of ${name} resolve (attw)`, async () => {
      runTool('@arethetypeswrong/cli/dist/index.js', [tarball, '--profile', 'esm-only', '--format', 'ascii'])
      return [undefined]
    })
  }
  await step('the client alone', () => clientAlone(client))
  const project = await step(`${own.name}: installs, serves, infers, stops`, () =>
    installAndServe(own, [server, client]),
  )
  if (project) {
    await step('programs compile against the packages and run', () => consume(project))
    for (const node of NODES)
      await step(`Node.js ${node}: serves, infers, stops`, () => serveOn(fetchMachine(folder, node), project))
  }
  await step('npm start: a signal reaches the server', async () => {
    await serveOnce(own, repositoryPath('.'), join(folder, 'start-cache'), port => [
      own.npm,
      'start',
      '--',
      '--port',
      String(port),
    ])
    return [undefined]
  })
  if (given.matrix)
    for (const node of NODES)
      for (const npm of NPMS.filter(npm => together(node, npm))) {
        const machine = fetchMachine(folder, node, npm)
        await step(`${machine.name}: installs, serves, infers, stops`, () =>
          installAndServe(machine, [server, client]),
        )
      }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
console.log(failures === 0 ? 'The packages are as promised.' : `${failures} checks failed.`)
process.exitCode = failures === 0 ? 0 : 1
