import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { TSchema } from 'typebox'
import { parse } from 'yaml'
import { loadConfig, requireKnownSettings, SETTINGS } from '../../src/config.js'
import { compileCheck } from '../../src/contract/validate.js'
import { readDocument } from '../support/documents.js'
import { repositoryPath } from '../support/served-policy.js'

const refused = (message: RegExp) => ({ code: 'CONFIG_INVALID', message })

t.test(
  'the command line wins over the environment, that over the file, and that over the default',
  async t => {
    const file = join(t.testdir({ 'turbo-pi.yaml': 'port: 1\nmax-batch: 2\nthreads: 3\n' }), 'turbo-pi.yaml')
    const env = { TURBO_PI_PORT: '11', TURBO_PI_MAX_BATCH: '12', TURBO_PI_CONFIG_FILE: file }
    const { port, maxBatch, threads, numSteps } = loadConfig(['--port', '21'], env)
    t.strictSame([port, maxBatch, threads, numSteps], [21, 12, 3, 0])
    t.equal(loadConfig(['--config-file', file], {}).port, 1, 'a flag names the file, too')
    t.equal(loadConfig([], { TURBO_PI_PORT: '' }).port, 8000, 'a variable that is empty is none')
  },
)

t.test('a file says in YAML or JSON what flags say, value by value', async t => {
  const said = {
    policy: ['left=/a', 'right=/b'],
    'allow-anonymous': true,
    host: '0.0.0.0',
    'guard-margin': -1,
    pipeline: 'on',
    'cors-origin': 'https://a.example,https://b.example',
    'default-prompt': 'pick up the cup',
  }
  const flags = [
    ...['--policy', 'left=/a', '--policy', 'right=/b', '--allow-anonymous', '--host=0.0.0.0'],
    ...['--guard-margin', '-1', '--pipeline', 'on', '--default-prompt', 'pick up the cup'],
    ...['--cors-origin', 'https://a.example', '--cors-origin', 'https://b.example'],
  ]
  const folder = t.testdir()
  const files = {
    'settings.json': JSON.stringify({ $schema: 'urn:turbo-pi:schema:settings:1', ...said }),
    'settings.yaml': `# how it is served
policy:
  - left=/a
  - right=/b
allow-anonymous: true
host: 0.0.0.0
guard-margin: -1
pipeline: on
cors-origin: [https://a.example, https://b.example]
default-prompt: pick up the cup
`,
  }
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name)
    writeFileSync(path, text)
    t.strictSame(
      { ...loadConfig(['--config-file', path], {}), configFile: undefined },
      loadConfig(flags, {}),
      name,
    )
  }
})

t.test('what a file must not say is refused with its place', async t => {
  const path = join(t.testdir(), 'settings.yaml')
  const mistakes: [text: string, message: RegExp][] = [
    ['prot: 8000', /settings\.yaml: there is no setting "prot"; did you mean port\?/],
    ['maxBatch: 4', /did you mean max-batch\?/],
    ['config-file: other.yaml', /there is no setting "config-file"/],
    ['port: "8000"', /port takes an integer, got "8000"/],
    ['port: 70000', /port in .*settings\.yaml takes an integer from 0 to 65535, got "70000"/],
    ['allow-swap: yes', /allow-swap takes true or false, got "yes"/],
    ['host: {a: b}', /host takes a text, got \{"a":"b"\}/],
    ['policy: [1]', /policy takes a text or a list of texts, got 1/],
    ['guard: [hold]', /guard takes a text, got \["hold"\]/],
    ['- port', /expected settings by their names/],
    ['port: 1\nport: 2', /neither YAML nor JSON: Map keys must be unique at line 2/],
    ['port: "', /neither YAML nor JSON/],
  ]
  for (const [text, message] of mistakes) {
    writeFileSync(path, text)
    t.throws(() => loadConfig(['--config-file', path], {}), refused(message), text)
  }
  t.throws(
    () => loadConfig(['--config-file', `${path}.not`], {}),
    refused(/file of settings cannot be read: ENOENT/),
  )
  writeFileSync(path, '')
  t.equal(loadConfig(['--config-file', path], {}).port, 8000, 'an empty file says nothing')
})

t.test('the JSON schema takes the file of the guide, and refuses what the program refuses', async t => {
  const check = compileCheck(
    JSON.parse(readFileSync(repositoryPath('docs/reference/settings.schema.json'), 'utf8')) as TSchema,
  )
  const { blocks } = readDocument('docs/guides/cli.md')
  const example = parse(blocks.find(({ language }) => language === 'yaml')!.text) as object
  t.doesNotThrow(() => check(example))
  for (const wrong of [
    { prot: 1 },
    { port: '8000' },
    { port: 70000 },
    { guard: 'shout' },
    { 'allow-swap': 'yes' },
  ])
    t.throws(() => check(wrong), JSON.stringify(wrong))
})

t.test('an option that is not known, or lacks its value, is refused and says what may be meant', async t => {
  const mistakes: [argv: string[], message: RegExp][] = [
    [['--prot', '1'], /serve has no option --prot; did you mean --port\? See turbo-pi help serve\./],
    [['-p', '1'], /serve has no option -p/],
    [['--port'], /--port has no value: it takes N\./],
    [['--port', '--host', 'x'], /--port has no value: it takes N; write --port=--host if --host is meant/],
    [['--port', 'http'], /--port takes an integer from 0 to 65535, got "http"/],
    [['--guard', 'shout'], /--guard takes one of auto, report, clamp, refuse, hold, got "shout"/],
    [['--allow-swap=perhaps'], /--allow-swap takes true or false/],
    [['--no-port'], /serve has no option --no-port/],
    [['--policy', ''], /--policy takes a directory/],
    [['--api-key', ''], /--api-key takes a key/],
  ]
  for (const [argv, message] of mistakes)
    t.throws(() => loadConfig(argv, {}), refused(message), argv.join(' '))
  t.throws(() => loadConfig([], { TURBO_PI_PORT: 'http' }), refused(/^TURBO_PI_PORT takes an integer/))
})

t.test('a switch is on by its name and off by --no-; numbers below zero need no equals sign', async t => {
  const env = { TURBO_PI_WATCH_SESSIONS: 'true' }
  t.equal(loadConfig(['--watch-sessions'], {}).watchSessions, true)
  t.equal(loadConfig([], env).watchSessions, true)
  t.equal(loadConfig(['--no-watch-sessions'], env).watchSessions, false)
  t.equal(loadConfig(['--guard-margin', '-1'], {}).guardMargin, -1)
})

t.test('a variable that nobody reads is refused, and Kubernetes’ links are named', async t => {
  const mistakes: [env: NodeJS.ProcessEnv, message: RegExp][] = [
    [{ TURBO_PI_PROT: '1' }, /has TURBO_PI_PROT, which is no setting; did you mean TURBO_PI_PORT\?/],
    [{ TURBO_PI_SOMETHING_ELSE: '' }, /TURBO_PI_SOMETHING_ELSE, which is no setting\./],
    [{ TURBO_PI_PORT: 'tcp://10.0.0.1:8000' }, /TURBO_PI_PORT=tcp:.*Kubernetes.*enableServiceLinks: false/],
    [{ TURBO_PI_SERVICE_HOST: '10.0.0.1' }, /enableServiceLinks: false/],
    [{ TURBO_PI_SERVICE_PORT_HTTP: '80' }, /enableServiceLinks: false/],
    [{ TURBO_PI_PORT_8000_TCP_ADDR: '10.0.0.1' }, /enableServiceLinks: false/],
    [{ TURBO_PI_ARM_1_PORT: 'tcp://10.0.0.1:8000' }, /enableServiceLinks: false/],
  ]
  for (const [env, message] of mistakes)
    t.throws(() => requireKnownSettings(env), refused(message), JSON.stringify(env))
  const known = Object.fromEntries(Object.values(SETTINGS).map(({ env }) => [env, 'x']))
  t.doesNotThrow(() =>
    requireKnownSettings({ ...known, TURBO_PI_NATIVE: 'a', TURBO_PI_KERNELS: 'b', PATH: '/bin' }),
  )
})

t.test('images, compose files, units and workflows set no variable that is refused', async t => {
  let seen = 0
  for (const folder of ['docker', 'deploy', '.github'])
    for (const file of readdirSync(repositoryPath(folder), { recursive: true }) as string[]) {
      const path = repositoryPath(join(folder, file))
      if (!statSync(path).isFile()) continue
      for (const [name] of readFileSync(path, 'utf8').matchAll(/\bTURBO_PI_[A-Z0-9_]+/g)) {
        seen += 1
        t.doesNotThrow(() => requireKnownSettings({ [name]: 'x' }), `${folder}/${file}: ${name}`)
      }
    }
  t.ok(seen > 20)
})
