import type { CompletedCommand, CompletedOption } from './words.js'
import { quoted } from './words.js'

/** What _arguments takes for the words of one place. */
function action(offers: CompletedOption['offers']): string {
  if (offers === undefined) return ' '
  if (offers === 'files') return '_files'
  if (offers === 'directories') return '_files -/'
  return `(${offers.join(' ')})`
}

const escaped = (text: string) => text.replaceAll(/[[\]:\\]/g, '\\$&')

const option = ({ flag, meaning, takes, offers }: CompletedOption) =>
  quoted(
    takes === undefined
      ? `--${flag}[${escaped(meaning)}]`
      : `*--${flag}=[${escaped(meaning)}]:${escaped(takes)}:${action(offers)}`,
  )

const branch = ({ name, options, offers }: CompletedCommand) =>
  [
    `    ${name}) _arguments -S`,
    ...options.map(option),
    quoted('--help[tell its options]'),
    quoted(`*:argument:${action(offers)}`),
  ].join(' \\\n      ')

/** A completion script for zsh: a file of $fpath, or evaluated after compinit. */
export function zsh(commands: readonly CompletedCommand[]): string {
  const list = commands.map(({ name, summary }) => `    ${quoted(`${name}:${escaped(summary)}`)}`)
  return `#compdef turbo-pi
# Completion of turbo-pi in zsh, printed by turbo-pi completion zsh.
_turbo_pi() {
  local -a commands
  commands=(
${list.join('\n')}
    'help:tell the options of a command'
  )
  if ((CURRENT == 2)); then
    _describe command commands
    [[ $PREFIX == -* ]] && compadd -- --help --version
    return
  fi
  shift words
  ((CURRENT--))
  case $words[1] in
    help) _describe command commands ;;
${commands.map(command => `${branch(command)} ;;`).join('\n')}
  esac
}
if [[ $funcstack[1] == _turbo_pi ]]; then
  _turbo_pi "$@"
else
  compdef _turbo_pi turbo-pi
fi`
}
