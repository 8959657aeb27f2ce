import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { COMMANDS, loadCommand } from '../../src/commands/table.js'
import { flagOf } from '../../src/settings/kinds.js'

/** What turbo-pi completion prints. */
async function scriptFor(shell: string): Promise<string> {
  const printed: string[] = []
  const log = t.intercept(console, 'log', { value: (text: string) => printed.push(text) })
  await (await loadCommand('completion')).run([shell]).finally(() => log.restore())
  return printed.join('\n')
}

const missing = (shell: string) =>
  spawnSync(shell, ['--version']).error ? `${shell} is not installed` : false

const scripts: Record<string, string> = {}
for (const shell of ['bash', 'zsh', 'fish']) scripts[shell] = await scriptFor(shell)

t.test('every command and every option is in every script', async t => {
  for (const [shell, script] of Object.entries(scripts))
    for (const name of Object.keys(COMMANDS)) {
      const { options, settings } = await loadCommand(name)
      t.match(script, new RegExp(`\\b${name}\\b`), `${shell}: ${name}`)
      for (const option of Object.keys({ ...options, ...settings }))
        t.ok(
          script.includes(shell === 'fish' ? ` -l ${flagOf(option)} ` : `--${flagOf(option)}`),
          `${shell}: ${name} --${flagOf(option)}`,
        )
    }
})

t.test('bash offers commands, options and values where they belong', { skip: missing('bash') }, async t => {
  const folder = t.testdir({ 'norm_stats.json': '', 'script.bash': scripts['bash']! })
  mkdirSync(join(folder, 'a policy'))
  /** What bash offers for the last of the words, as it splits them itself. */
  const offered = (...words: string[]) => {
    const line = `source ./script.bash
      COMP_WORDS=(${words.map(word => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}
      compopt() { :; }
      _turbo_pi; printf '%s\\n' "\${COMPREPLY[@]}"`
    return execFileSync('bash', ['--norc', '-c', line], { cwd: folder, encoding: 'utf8' })
      .split('\n')
      .filter(Boolean)
  }
  t.same(offered('turbo-pi', 'b'), ['build', 'bench'])
  t.same(offered('turbo-pi', '--v'), ['--version'])
  t.same(offered('turbo-pi', 'help', 'do'), ['doctor'])
  t.same(offered('turbo-pi', 'serve', '--po'), ['--policy', '--port'])
  t.same(offered('turbo-pi', 'bench', '--po'), ['--policy'], 'bench listens on no port')
  t.same(offered('turbo-pi', 'serve', '--precision', 'f'), ['fp32', 'fp16', 'fp8'])
  t.same(offered('turbo-pi', 'serve', '--precision', '=', 'i'), ['int8'], '--precision=i')
  t.same(offered('turbo-pi', 'serve', '--precision', '='), ['auto', 'fp32', 'bf16', 'fp16', 'int8', 'fp8'])
  t.same(offered('turbo-pi', 'serve', '--norm-stats', 'no'), ['norm_stats.json'])
  t.same(offered('turbo-pi', 'doctor', 'a'), ['a policy'], 'a name with a space is one')
  t.same(offered('turbo-pi', 'serve', '--port', ''), [], 'a number cannot be guessed')
  t.same(offered('turbo-pi', 'cache', ''), ['ls', 'prune'])
  t.same(offered('turbo-pi', 'completion', 'z'), ['zsh'])
})

t.test('zsh loads its script', { skip: missing('zsh') }, async t => {
  const path = join(t.testdir(), '_turbo-pi')
  writeFileSync(path, scripts['zsh']!)
  execFileSync('zsh', ['-n', path])
  const loaded = `autoload -U compinit; compinit -u -D; source ${path}; print -r -- $_comps[turbo-pi]`
  t.equal(execFileSync('zsh', ['-f', '-c', loaded], { encoding: 'utf8' }).trim(), '_turbo_pi')
})

t.test('fish offers commands, options and values where they belong', { skip: missing('fish') }, async t => {
  const folder = t.testdir({ 'script.fish': scripts['fish']! })
  const offered = (line: string) =>
    execFileSync('fish', ['--no-config', '-c', `source script.fish; complete -C '${line}'`], {
      cwd: folder,
      encoding: 'utf8',
      env: { ...process.env, HOME: folder },
    })
      .split('\n')
      .filter(Boolean)
      .map(candidate => candidate.split('\t')[0]!)
  t.same(offered('turbo-pi b').sort(), ['bench', 'build'])
  t.same(offered('turbo-pi serve --po').sort(), ['--policy', '--port'])
  t.same(offered('turbo-pi bench --po'), ['--policy'])
  t.same(offered('turbo-pi serve --precision i'), ['int8'])
})
