#!/usr/bin/env -S MALLOC_MMAP_THRESHOLD_=4194304 MALLOC_TRIM_THRESHOLD_=16777216 node --v8-pool-size=1
import { readFileSync } from 'node:fs'
import { wrapped } from './commands/kit/help.js'
import { Interrupted } from './commands/kit/interruption.js'
import { COMMANDS, loadCommand } from './commands/table.js'
import { reasonOf, TurboPiError } from './errors.js'
import { byGroup } from './settings/kinds.js'
import { didYouMean, ended } from './settings/suggestion.js'

/** Of every command; docs/reference/cli.md explains them. */
const EXIT = { done: 0, failed: 1, usage: 2 } as const

const isHelp = (word: string | undefined) => word === '--help' || word === '-h'

function overview(): string {
  const groups = byGroup(COMMANDS, ({ group }) => group)
  const lists = [...groups].map(([group, commands]) =>
    [`${group}:`, ...commands.map(([name, { summary }]) => `  ${name.padEnd(11)} ${summary}`)].join('\n'),
  )
  return [
    'turbo-pi COMMAND [options]',
    ...lists,
    wrapped(
      'turbo-pi help COMMAND tells its options; turbo-pi --version, the version. Exit codes: 0 done, 1 failed, 2 not understood.',
      process.stdout.columns ?? 120,
    ),
  ].join('\n\n')
}

async function help(names: readonly string[]): Promise<number> {
  const [name, ...more] = names
  if (name === undefined) console.log(overview())
  else if (more.length > 0) return misunderstood(`help takes one command, got ${names.join(' ')}.`)
  else if (!Object.hasOwn(COMMANDS, name)) return unknownCommand(name)
  else console.log((await loadCommand(name)).help(process.stdout.columns))
  return EXIT.done
}

function misunderstood(sentence: string): number {
  console.error(`turbo-pi: ${sentence} See turbo-pi help.`)
  return EXIT.usage
}

function unknownCommand(name: string): number {
  const suggestion = didYouMean(name, [...Object.keys(COMMANDS), 'help'])
  return misunderstood(ended(`there is no command ${JSON.stringify(name)}${suggestion}`))
}

async function main([name, ...argv]: readonly string[]): Promise<number> {
  if (name === undefined) {
    console.error(overview())
    return EXIT.usage
  }
  if (isHelp(name) || name === 'help') return help(name === 'help' ? argv.filter(word => !isHelp(word)) : [])
  if (name === '--version') {
    console.log(JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version)
    return EXIT.done
  }
  if (!Object.hasOwn(COMMANDS, name)) return unknownCommand(name)
  const end = argv.indexOf('--')
  if ((end < 0 ? argv : argv.slice(0, end)).some(isHelp)) return help([name])
  const { requireKnownSettings } = await import('./config.js')
  requireKnownSettings(process.env)
  return (await loadCommand(name)).run(argv)
}

function exitCodeOf(error: unknown): number {
  if (error instanceof Interrupted) return error.exitCode
  return error instanceof TurboPiError && error.code === 'CONFIG_INVALID' ? EXIT.usage : EXIT.failed
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (error instanceof Interrupted) console.error(`turbo-pi: ${error.message}.`)
  else if (error instanceof TurboPiError)
    console.error(`turbo-pi: ${error.title} (${error.code}).\n${error.message}`)
  else console.error(error instanceof Error ? (error.stack ?? error.message) : reasonOf(error))
  process.exitCode = exitCodeOf(error)
}
