import { execFile } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { SETTINGS } from '../src/config.js'

const root = new URL('../', import.meta.url).pathname
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const run = promisify(execFile)

interface Instruction {
  name: string
  text: string
}
interface Stage {
  name: string
  base: string
  instructions: Instruction[]
}

/** The stages of a Dockerfile: comments dropped, continued lines joined. */
function stagesOf(file: string): Stage[] {
  const lines = read(file)
    .replace(/^#.*\n/gm, '')
    .replace(/\\\n\s*/g, ' ')
    .split('\n')
    .filter(line => line.trim() !== '')
  const stages: Stage[] = []
  for (const line of lines) {
    const [, name = '', text = ''] = /^([A-Z]+) +(.*)$/.exec(line) ?? []
    if (name === 'FROM') {
      const [base = '', as, stage = ''] = text.split(/ +/)
      if (as !== 'AS' || !stage) throw new Error(`${file}: a stage without a name: ${line}`)
      stages.push({ name: stage, base, instructions: [] })
    } else if (name) stages.at(-1)!.instructions.push({ name, text })
    else throw new Error(`${file}: not an instruction: ${line}`)
  }
  return stages
}

const files = ['docker/Dockerfile.cpu', 'docker/Dockerfile.nvcr', 'docker/Dockerfile.jetpack']
const texts = (stage: Stage, name: string) =>
  stage.instructions.filter(instruction => instruction.name === name).map(({ text }) => text)

/** What COPY takes: its sources, and the stage that they come from when it is not the repository. */
function copies(stage: Stage) {
  return texts(stage, 'COPY').map(text => {
    const words = text.split(/ +/)
    const from = words.find(word => word.startsWith('--from='))?.slice('--from='.length)
    return { from, sources: words.filter(word => !word.startsWith('--')).slice(0, -1) }
  })
}

/** Whether .dockerignore lets a path through: the last pattern that fits it or a parent decides. */
function reachesTheBuild(path: string): boolean {
  let ignored = false
  for (const line of read('.dockerignore').split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    const pattern = line.replace(/^!/, '').replace(/[.]/g, '\\.').replace(/\*/g, '[^/]*')
    if (new RegExp(`^${pattern}(/|$)`).test(path)) ignored = !line.startsWith('!')
  }
  return !ignored
}

/** The files below a path of the repository; what compiling the addon leaves is none. */
function filesOf(path: string): string[] {
  if (!statSync(join(root, path), { throwIfNoEntry: false })?.isDirectory()) return [path]
  return readdirSync(join(root, path))
    .map(name => `${path}/${name}`)
    .filter(name => !/^native\/build(-|$)/.test(name))
    .flatMap(filesOf)
}

for (const file of files) {
  t.test(file, async t => {
    const stages = stagesOf(file)
    const runtime = stages.at(-1)!

    t.test('every path that it copies is there and reaches the build', async t => {
      const paths = stages.flatMap(copies).filter(copy => copy.from === undefined)
      t.ok(paths.length > 5)
      for (const path of paths.flatMap(copy => copy.sources)) {
        t.ok(existsSync(join(root, path)), path)
        t.same(
          filesOf(path).filter(name => !reachesTheBuild(name)),
          [],
          `.dockerignore lets ${path} through`,
        )
      }
    })

    t.test('every stage that it names comes before', async t => {
      const names = stages.map(stage => stage.name)
      t.equal(new Set(names).size, names.length)
      for (const [index, stage] of stages.entries())
        for (const { from } of copies(stage))
          if (from !== undefined)
            t.ok(names.slice(0, index).includes(from), `${stage.name} copies from ${from}`)
    })

    t.test('every npm script that it calls is there', async t => {
      const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
      const called = stages
        .flatMap(stage => texts(stage, 'RUN'))
        .flatMap(text => [...text.matchAll(/npm run ([\w:-]+)/g)].map(match => match[1]!))
      t.ok(called.includes('build'))
      for (const script of called) t.ok(scripts[script], `npm run ${script}`)
    })

    t.test('its bases are pinned', async t => {
      const names = new Set(stages.map(stage => stage.name))
      const bases = stages.map(stage => stage.base).filter(base => !names.has(base))
      t.ok(bases.length > 0)
      for (const base of bases) t.match(base, /^[\w.-]+\/[\w./-]+:[\w.-]*\d[\w.-]*$/)
    })

    t.test('it runs without root, with a health check and its cache on a volume', async t => {
      t.same(texts(runtime, 'USER'), ['turbo-pi'])
      t.match(texts(runtime, 'RUN').join('\n'), /useradd --uid 10001 .*turbo-pi/)
      const last = runtime.instructions.map(({ name }) => name)
      t.ok(last.lastIndexOf('USER') > last.lastIndexOf('RUN'), 'nothing runs or is copied as that user')

      const [check = ''] = texts(runtime, 'HEALTHCHECK')
      const command = JSON.parse(/CMD (\[.*\])$/.exec(check)?.[1] ?? 'null') as string[]
      t.equal(command[0], 'node')
      t.ok(
        copies(runtime).some(copy => copy.sources.includes(command[1]!)),
        `${command[1]} is in the image`,
      )

      t.same(texts(runtime, 'VOLUME'), ['/var/cache/turbo-pi'])
      t.match(texts(runtime, 'ENV').join(' '), /TURBO_PI_CACHE=\/var\/cache\/turbo-pi( |$)/)
    })

    t.test('it starts the server, and every setting that it gives is one', async t => {
      t.same(texts(runtime, 'ENTRYPOINT'), ['["node", "--v8-pool-size=1", "dist/cli.js"]'])
      t.same(texts(runtime, 'CMD'), ['["serve"]'])
      const settings = Object.values(SETTINGS)
      const given = [
        ...texts(runtime, 'ENV')
          .join(' ')
          .matchAll(/(TURBO_PI_\w+)=(\S+)/g),
      ]
      t.ok(given.length >= 4)
      for (const [, name = '', value = ''] of given) {
        const setting = settings.find(({ env }) => env === name)
        t.ok(setting, name)
        t.doesNotThrow(() => setting?.parse(value), `${name}=${value}`)
      }
      t.same(texts(runtime, 'EXPOSE'), ['8000'])
      t.match(
        texts(runtime, 'ENV').join(' '),
        /ORT_DISABLE_TELEMETRY=1( |$)/,
        'nothing is reported to anybody',
      )
    })

    t.test('packages for development stay out of the image', async t => {
      const dependencies = stages.find(stage => stage.name === 'dependencies')!
      t.match(texts(dependencies, 'RUN').join('\n'), /npm ci --omit=dev/)
      const modules = copies(runtime).filter(copy =>
        copy.sources.some(source => source.includes('node_modules')),
      )
      t.same(
        modules.map(copy => copy.from),
        ['dependencies'],
      )
    })
  })
}

t.test('the stages that need nothing of NVIDIA’s are the same in every Dockerfile', async t => {
  const common = (file: string) => {
    const stages = stagesOf(file)
    return stages.slice(0, stages.findIndex(stage => stage.name === 'dependencies') + 1)
  }
  const [cpu, ...others] = files.map(common)
  t.same(
    cpu!.map(stage => stage.name),
    ['node', 'build', 'dependencies'],
  )
  for (const other of others) t.same(other, cpu)
})

t.test('what the images do not copy stays out of the build', async t => {
  for (const path of ['.git', 'node_modules', 'test', 'native/build', 'dist', '.env', 'docker/.env'])
    t.notOk(reachesTheBuild(path), path)
})

t.test('the GPU images look for the TensorRT headers before they build the addon, and carry it', async t => {
  for (const file of files.slice(1)) {
    const stages = stagesOf(file)
    const steps = texts(stages.find(stage => stage.name === 'native')!, 'RUN')
    const checked = steps.indexOf('sh docker/tensorrt-headers.sh')
    const built = steps.findIndex(step => step.includes('npm run build:native'))
    t.ok(checked >= 0 && checked < built, file)
    t.ok(copies(stages.at(-1)!).some(copy => copy.from === 'native'))
  }
})

t.test(
  'tensorrt-headers.sh prints the directory of both headers, or fails and names the missing one',
  async t => {
    const directory = mkdtempSync(join(tmpdir(), 'headers-'))
    t.teardown(() => rmSync(directory, { recursive: true }))
    const headers = join(directory, 'include', 'x86_64-linux-gnu')
    mkdirSync(headers, { recursive: true })
    const look = () =>
      run('sh', [join(root, 'docker/tensorrt-headers.sh'), join(directory, 'absent'), directory])

    await t.rejects(look(), { code: 1, stderr: /^NvInfer\.h is not below .*libnvinfer-headers-dev/ })
    writeFileSync(join(headers, 'NvInfer.h'), '')
    await t.rejects(look(), { code: 1, stderr: /^NvOnnxParser\.h is not in .*libnvonnxparsers-dev/ })
    writeFileSync(join(headers, 'NvOnnxParser.h'), '')
    t.equal((await look()).stdout, `${headers}\n`)
  },
)

interface Service {
  profiles: string[]
  build: { context: string; dockerfile: string; args?: Record<string, string> }
  environment: Record<string, string | null>
  volumes: string[]
  runtime?: string
  ipc?: string
  ulimits?: Record<string, number>
  [key: string]: unknown
}

/** Settings that the image gives: Compose maps its port and mounts its cache. */
const OF_THE_IMAGE = ['TURBO_PI_HOST', 'TURBO_PI_PORT', 'TURBO_PI_CACHE']

t.test('compose.yaml', async t => {
  const compose = parse(read('docker/compose.yaml'), { merge: true }) as {
    services: Record<string, Service>
    volumes: Record<string, unknown>
  }
  const services = Object.entries(compose.services)
  t.same(
    services.map(([name, { profiles }]) => [name, profiles]),
    [
      ['cpu', ['cpu']],
      ['gpu', ['gpu']],
      ['jetson', ['jetson']],
      ['jetson72', ['jetson72']],
    ],
  )
  const settings = new Set<string>(Object.values(SETTINGS).map(({ env }) => env))
  for (const [name, service] of services) {
    t.equal(service.build.context, '..', name)
    t.ok(files.includes(service.build.dockerfile), service.build.dockerfile)
    t.same(
      Object.keys(service.environment).sort(),
      [...settings].filter(variable => !OF_THE_IMAGE.includes(variable)).sort(),
      'every setting may be given, and nothing else',
    )
    t.match(
      service.environment['TURBO_PI_API_KEY'],
      /^\$\{TURBO_PI_API_KEY:\?/,
      'without a key it does not start',
    )
    const [cache = '', policies = ''] = service.volumes
    const [volume = '', target] = cache.split(':')
    t.ok(volume in compose.volumes, cache)
    t.equal(target, '/var/cache/turbo-pi')
    t.match(policies, /^\$\{POLICIES:-\.\.\/policies\}:\/policies:ro$/)
  }
  for (const name of ['gpu', 'jetson', 'jetson72'])
    t.match(compose.services[name], {
      runtime: 'nvidia',
      ipc: 'host',
      ulimits: { memlock: -1, stack: 67108864 },
    })
})

interface Target {
  dockerfile?: string
  inherits?: string[]
  platforms?: string[]
  args?: Record<string, string>
  attest?: string[]
  tags?: string[]
}

t.test('bake.json builds every image for its platforms, with an SBOM and its provenance', async t => {
  const { target: targets, group } = JSON.parse(read('docker/bake.json')) as {
    target: Record<string, Target>
    group: { default: { targets: string[] } }
  }
  const built = group.default.targets
  t.same(Object.keys(targets).sort(), ['image', ...built].sort())
  t.same([...new Set(built.map(name => targets[name]!.dockerfile!))].sort(), [...files].sort())
  for (const name of built) {
    const { dockerfile, inherits, platforms, args = {}, tags } = targets[name]!
    t.same(inherits, ['image'])
    t.same(platforms, name.startsWith('jetpack') ? ['linux/arm64'] : ['linux/amd64', 'linux/arm64'], name)
    t.same(tags, [`\${REPOSITORY}:\${VERSION}-${name}`])
    const known = [...read(dockerfile!).matchAll(/^ARG (\w+)=/gm)].map(([, argument]) => argument!)
    for (const argument of Object.keys(args)) t.ok(known.includes(argument), `${name}: ${argument}`)
  }
  t.same(targets['image']!.attest, ['type=sbom', 'type=provenance,mode=max'])

  const { jobs } = parse(read('.github/workflows/release.yml')) as {
    jobs: { image: { strategy: { matrix: { image: string[] } } } }
  }
  t.same(jobs.image.strategy.matrix.image, built, 'a release builds them all')
})

t.test('JetPack 7.1 and 7.2 have their own versions, the same in bake.json and compose.yaml', async t => {
  const { target } = JSON.parse(read('docker/bake.json')) as { target: Record<string, Target> }
  const { services } = parse(read('docker/compose.yaml'), { merge: true }) as {
    services: Record<string, Service>
  }
  t.same(services['jetson72']!.build.args, target['jetpack72']!.args)
  for (const [argument, value] of Object.entries(target['jetpack71']!.args!))
    for (const [, byDefault] of read('docker/Dockerfile.jetpack').matchAll(
      new RegExp(`^ARG ${argument}=(.*)$`, 'gm'),
    ))
      t.equal(byDefault, value, `${argument} of 7.1 is the default`)
  t.match(target['jetpack72']!.args, { TENSORRT: /^10\.16\.2\./ })
  // One line of NVIDIA's names: the packages of a TensorRT are built for the CUDA of its JetPack.
  for (const name of ['jetpack71', 'jetpack72']) {
    const { CUDA = '', TENSORRT = '' } = target[name]!.args!
    t.ok(TENSORRT.endsWith(`+cuda${CUDA.replace('-', '.')}`), name)
  }
})

t.test('health check: fails with the reason until the server is ready', async (t: Test) => {
  const { createServer } = await import('node:http')
  let status = 503
  const asked: (string | undefined)[] = []
  const server = createServer((request, response) => {
    asked.push(request.url)
    response.writeHead(status).end('the engine is starting')
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const check = () =>
    run(process.execPath, [join(root, 'docker/healthcheck.js')], { env: { TURBO_PI_PORT: `${port}` } })

  await t.rejects(check(), { code: 1, stderr: /503 the engine is starting/ })
  status = 200
  await check()
  t.same(asked, ['/readyz', '/readyz'])
  await new Promise(resolve => server.close(resolve))
  await t.rejects(check(), { code: 1, stderr: /ECONNREFUSED/ })
})

t.test('the lock file has the packages of every platform: without them npm ci fails in an image', async t => {
  const { packages } = JSON.parse(read('package-lock.json')) as {
    packages: Record<string, { optionalDependencies?: Record<string, string> }>
  }
  const absent = Object.entries(packages).flatMap(([path, entry]) =>
    Object.keys(entry.optionalDependencies ?? {}).filter(
      name => !packages[`node_modules/${name}`] && !packages[`${path}/node_modules/${name}`],
    ),
  )
  t.same(absent, [])
  for (const cpu of ['x64', 'arm64']) t.ok(packages[`node_modules/@img/sharp-linux-${cpu}`], cpu)
})
