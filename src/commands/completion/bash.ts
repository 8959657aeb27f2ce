import type { CompletedCommand, CompletedOption } from './words.js'
import { quoted } from './words.js'

type Offers = CompletedOption['offers']

/** What gathers the words for one place. */
function offer(offers: Offers): string {
  if (offers === undefined) return ':'
  if (offers === 'files') return 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur")'
  if (offers === 'directories') return 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur")'
  return `mapfile -t COMPREPLY < <(compgen -W ${quoted(offers.join(' '))} -- "$cur")`
}

const flags = ({ options }: CompletedCommand) => [...options.map(({ flag }) => `--${flag}`), '--help']

/** Options whose values are offered alike, in one branch. */
function valueBranches(commands: readonly CompletedCommand[]): string[] {
  const places = new Map<string, string[]>()
  for (const { name, options } of commands)
    for (const { flag, takes, offers } of options)
      if (takes !== undefined) {
        const gathered = offer(offers)
        places.set(gathered, [...(places.get(gathered) ?? []), `${name},--${flag}`])
      }
  return [...places].map(([gathered, names]) => `    ${names.join('|')}) ${gathered}; return ;;`)
}

/** A completion script for bash 4.4 or newer. */
export function bash(commands: readonly CompletedCommand[]): string {
  const names = commands.map(({ name }) => name)
  const branches = commands.map(
    command =>
      `    ${command.name}) case $cur in -*) ${offer(flags(command))} ;; *) ${offer(command.offers)} ;; esac ;;`,
  )
  return `# Completion of turbo-pi in bash, printed by turbo-pi completion bash.
_turbo_pi() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} command=
  # bash takes --flag=value for three words.
  if [[ $cur == = ]]; then
    cur=
  elif [[ $prev == = ]]; then
    prev=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  ((COMP_CWORD > 1)) && command=\${COMP_WORDS[1]}
  COMPREPLY=()
  case $command,$prev in
${valueBranches(commands).join('\n')}
  esac
  case $command in
    '') ${offer([...names, 'help', '--help', '--version'])} ;;
    help) ${offer(names)} ;;
${branches.join('\n')}
  esac
}
complete -F _turbo_pi turbo-pi`
}
