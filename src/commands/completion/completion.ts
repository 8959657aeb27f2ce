import { flagOf, type Options } from '../../settings/kinds.js'
import { type Command, type CommandRow, command as define } from '../kit/command.js'
import { bash } from './bash.js'
import { fish } from './fish.js'
import type { CompletedCommand } from './words.js'
import { zsh } from './zsh.js'

const SHELLS = { bash, zsh, fish } as const

const isShell = (name: string): name is keyof typeof SHELLS => Object.hasOwn(SHELLS, name)

/** `turbo-pi completion SHELL`, of all commands of a table. */
export const completionOf = (table: Readonly<Record<string, CommandRow>>): Command =>
  define(
    {
      name: 'completion',
      forms: ['bash|zsh|fish'],
      about: `
Prints a script that completes commands, options and their values in a shell. To have it from now on:

  bash   echo 'eval "$(turbo-pi completion bash)"' >> ~/.bashrc
  zsh    turbo-pi completion zsh > "\${fpath[1]}/_turbo-pi"
  fish   turbo-pi completion fish > ~/.config/fish/completions/turbo-pi.fish`,
      positionals: { least: 1, most: 1, what: 'bash, zsh or fish', offers: Object.keys(SHELLS) },
      options: {},
      settings: {},
    },
    async ({ positionals: [shell = ''] }) => {
      if (!isShell(shell)) {
        console.error(`turbo-pi: completion takes bash, zsh or fish, got ${shell}.`)
        return 2
      }
      console.log(SHELLS[shell](await described(table)))
      return 0
    },
  )

/** Every command of a table with its options, in the words of a shell. */
async function described(table: Readonly<Record<string, CommandRow>>): Promise<CompletedCommand[]> {
  const rows = Object.entries(table).map(async ([name, { summary, load }]) => {
    // Its own module would load all commands once more.
    const { options, settings, positionals } =
      name === 'completion'
        ? { options: {}, settings: {}, positionals: { offers: Object.keys(SHELLS) } }
        : (await load()).command
    return {
      name,
      summary,
      ...(positionals?.offers && { offers: positionals.offers }),
      options: Object.entries<Options[string]>({ ...options, ...settings }).map(([name, option]) => ({
        flag: flagOf(name),
        meaning: firstClause(option.meaning),
        takes: option.takes,
        offers: option.offers,
      })),
    }
  })
  return Promise.all(rows)
}

/** A menu has room for a few words. */
const firstClause = (meaning: string) => meaning.split(/[;:.(](?: |$)/)[0]!.trim()
