import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { COMMANDS, loadCommand } from '../../src/commands/table.js'
import { flagOf } from '../../src/settings/kinds.js'
import { runCli } from '../support/command-line.js'
import { repositoryPath } from '../support/served-policy.js'

t.test('help, version and mistakes end with their codes', async t => {
  const { version } = JSON.parse(readFileSync(repositoryPath('package.json'), 'utf8'))
  const cases: [argv: string[], code: number, stdout: RegExp, stderr: RegExp][] = [
    [['--version'], 0, new RegExp(`^${version}\n$`), /^$/],
    [['help'], 0, /^turbo-pi COMMAND \[options\]\n[\s\S]*A server:\n {2}serve /, /^$/],
    [[], 2, /^$/, /turbo-pi COMMAND/],
    [['help', 'bench'], 0, /^turbo-pi bench [\s\S]*--rounds N [\s\S]*\[50; 5 with --full\]/, /^$/],
    [['sevre'], 2, /^$/, /there is no command "sevre"; did you mean serve\? See turbo-pi help\./],
    [['serve', '--prot', '1'], 2, /^$/, /serve has no option --prot; did you mean --port\?/],
    [['bench', '--port', '1'], 2, /^$/, /bench has no option --port: that is one of turbo-pi serve\./],
    [['doctor', repositoryPath('docs')], 1, /WRONG/, /^$/],
  ]
  for (const [argv, code, stdout, stderr] of cases) {
    const ended = await runCli(argv)
    const name = `turbo-pi ${argv.join(' ')}`
    t.equal(ended.code, code, `${name} ends with ${code}`)
    t.match(ended.stdout, stdout, `${name}: standard output`)
    t.match(ended.stderr, stderr, `${name}: standard error`)
  }
})

t.test('a variable or a file that is not understood ends any command before it does something', async t => {
  const folder = t.testdir({ 'wrong.yaml': 'prot: 1' })
  const misspelt = await runCli(['cache', 'ls'], { TURBO_PI_CAHCE: '/tmp' })
  t.equal(misspelt.code, 2)
  t.match(misspelt.stderr, /TURBO_PI_CAHCE, which is no setting; did you mean TURBO_PI_CACHE\?/)
  const file = await runCli(['bench', '--config-file', join(folder, 'wrong.yaml')])
  t.equal(file.code, 2)
  t.match(file.stderr, /wrong\.yaml: there is no setting "prot"; did you mean port\?/)
  t.equal((await runCli(['help'], { TURBO_PI_CAHCE: '/tmp' })).code, 0, 'help is given all the same')
})

t.test('what is no mistake of the command line ends with 1 and its own code', async t => {
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => taken.once('listening', resolve))
  t.teardown(() => taken.close())
  const { port } = taken.address() as { port: number }
  const listening = await runCli(['serve', '--port', String(port)], { TURBO_PI_CACHE: t.testdir() })
  t.equal(listening.code, 1)
  t.match(listening.stderr, /\(LISTEN_FAILED\)\.\nCannot listen on 127\.0\.0\.1, port \d+: .*EADDRINUSE/)
  const gone = await runCli(['clear', '--url', 'http://127.0.0.1:1'])
  t.equal(gone.code, 1)
  t.match(gone.stderr, /\(SERVER_UNREACHABLE\)\.\n.*127\.0\.0\.1:1.*turbo-pi serve/)
  t.notMatch(gone.stderr, /\n {4}at /, 'no stack')
})

t.test('the help of every command has all of its options, and fits its width', async t => {
  for (const name of Object.keys(COMMANDS)) {
    const command = await loadCommand(name)
    t.equal(command.name, name)
    const help = command.help(100)
    for (const option of Object.keys({ ...command.options, ...command.settings }))
      t.match(help, new RegExp(`^  --${flagOf(option)}( |$)`, 'm'), `${name} --${option}`)
    const tables = help.split('\n').filter(line => /^ {28}|^ {2}--/.test(line))
    t.same(
      tables.filter(line => line.length > 100 && !/\S{70}/.test(line)),
      [],
      name,
    )
  }
})

t.test('commands refuse by name what means nothing to what they are to do', async t => {
  const mistakes: [argv: string[], message: RegExp][] = [
    [['bench', '--full', '--steps', '3'], /bench --full does not take --steps/],
    [['bench', '--full', '--policy', '/a'], /bench --full does not take --policy/],
    [['verify', '--cases', 'a', '--steps', '3'], /verify --cases does not take --steps/],
    [
      ['verify', '--policy-cases', 'a', '--models', 'b', '--policy', 'c'],
      /--policy-cases does not take --policy/,
    ],
    [['verify', '--against', '/a', '--count', '3'], /verify --against recordings does not take --count/],
    [['verify', '--cases', 'a', '--against', 'random'], /exclude each other/],
    [['verify', '--cases', 'a'], /--cases needs --model/],
    [
      ['eval', '--url', 'http://127.0.0.1:1', '--policy', '/a'],
      /whose server has its own, does not take --policy/,
    ],
    [
      ['eval', '--random-weights', 'pi05'],
      /eval has no option --random-weights: that is one of turbo-pi serve/,
    ],
    [['cache', 'ls', '--all'], /ls does not take --all/],
    [['doctor'], /doctor takes one directory, got none\. See turbo-pi help doctor/],
    [['bench', 'policies'], /bench takes no arguments besides options, got policies/],
    [['cache', 'list'], /cache takes ls or prune, got "list"/],
  ]
  for (const [[name, ...argv], message] of mistakes)
    await t.rejects((await loadCommand(name!)).run(argv), { code: 'CONFIG_INVALID', message }, argv.join(' '))
})
