/**
 * npm run test:clients: openapi-generator writes clients in three languages from the document of a served policy; each is
 * compiled, and infers. Needs Java 11 and Maven, which brings the generator (or OPENAPI_GENERATOR names its jar), and Python 3.10.
 */
import { execFile } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { repositoryPath, servePolicy } from '../support/served-policy.js'

const GENERATOR = '7.25.0'
const MAVEN_COPY = 'org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy'
const KEY = 'a-key'

const work = mkdtempSync(join(tmpdir(), 'turbo-pi-clients-'))

/** Throws with all that the command has said. */
async function run(command: string, args: string[], cwd = work): Promise<string> {
  const environment = {
    ...process.env,
    MAVEN_OPTS: '-Dfile.encoding=UTF-8',
    JAVA_TOOL_OPTIONS: '-Dfile.encoding=UTF-8',
  }
  const ended = promisify(execFile)(command, args, { cwd, env: environment, maxBuffer: 2 ** 26 })
  const { stdout } = await ended.catch(error => {
    throw new Error([`${command} ${args[0]} failed.`, error.stdout, error.stderr].join('\n'))
  })
  return stdout
}

async function generatorJar(): Promise<string> {
  const given = process.env['OPENAPI_GENERATOR']
  if (given) return given
  const artifact = `org.openapitools:openapi-generator-cli:${GENERATOR}`
  await run('mvn', ['-q', MAVEN_COPY, `-Dartifact=${artifact}`, `-DoutputDirectory=${work}`])
  return join(work, `openapi-generator-cli-${GENERATOR}.jar`)
}

const program = (name: string, to: string) =>
  copyFileSync(repositoryPath(`test/clients/programs/${name}`), to)

/** Compiles what was generated in a folder, and lets its program infer; returns what that prints. */
const CLIENTS: Record<string, (folder: string, args: string[]) => Promise<string>> = {
  async 'typescript-fetch'(folder, args) {
    program('typescript-fetch.ts', join(folder, 'client.ts'))
    const compilerOptions = {
      strict: true,
      target: 'ES2022',
      lib: ['ES2022', 'DOM'],
      module: 'CommonJS',
      moduleResolution: 'Node10',
      typeRoots: [repositoryPath('node_modules/@types')],
      types: ['node'],
      outDir: 'built',
    }
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['client.ts'] }))
    await run(process.execPath, [repositoryPath('node_modules/typescript/bin/tsc')], folder)
    return run(process.execPath, [join(folder, 'built/client.js'), ...args])
  },
  async python(folder, args) {
    const python = join(work, 'venv/bin/python')
    await run('python3', ['-m', 'venv', join(work, 'venv')])
    await run(python, ['-m', 'pip', 'install', '--quiet', folder])
    return run(python, [repositoryPath('test/clients/programs/python.py'), ...args])
  },
  async java(folder, args) {
    const classes = join(folder, 'target/classes')
    await run(
      'mvn',
      ['-q', '-DskipTests', 'compile', 'dependency:build-classpath', '-Dmdep.outputFile=classpath'],
      folder,
    )
    const path = [classes, readFileSync(join(folder, 'classpath'), 'utf8')].join(':')
    const source = repositoryPath('test/clients/programs/Infer.java')
    await run('javac', ['-encoding', 'UTF-8', '-cp', path, '-d', classes, source])
    return run('java', ['-cp', path, 'Infer', ...args])
  },
}

const { app, close } = await servePolicy(repositoryPath('policies/tabletop'), { apiKey: KEY })
try {
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const response = await fetch(`${url}/openapi.json`, { headers: { authorization: `Api-Key ${KEY}` } })
  const text = await response.text()
  const document = join(work, 'openapi.json')
  writeFileSync(document, text)
  const { content } = JSON.parse(text).paths['/infer'].post.requestBody
  const example = JSON.stringify(content['application/json'].example)
  const jar = await generatorJar()
  for (const [generator, infer] of Object.entries(CLIENTS)) {
    const folder = join(work, generator)
    // Java only: what an optional list is without it, an empty one, the server refuses.
    const options = generator === 'java' ? ['--additional-properties=containerDefaultToNull=true'] : []
    await run('java', ['-jar', jar, 'generate', '-i', document, '-g', generator, '-o', folder, ...options])
    const printed = await infer(folder, [url, KEY, example])
    console.log(`openapi-generator ${GENERATOR}, ${generator}: generated, compiled; infers ${printed.trim()}`)
  }
} finally {
  await close()
  rmSync(work, { recursive: true, force: true })
}
