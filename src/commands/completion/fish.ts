import type { CompletedCommand, CompletedOption } from './words.js'

const quoted = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`

/** Options of `complete` for the words of one place: -x takes no other files, -r needs a value. */
function value({ takes, offers }: Pick<CompletedOption, 'takes' | 'offers'>): string {
  if (takes === undefined) return ''
  if (offers === 'files') return ' -r -F'
  if (offers === 'directories') return " -x -a '(__fish_complete_directories)'"
  return offers === undefined ? ' -x' : ` -x -a ${quoted(offers.join(' '))}`
}

function lines({ name, options, offers }: CompletedCommand): string[] {
  const within = `complete -c turbo-pi -n '__fish_seen_subcommand_from ${name}'`
  const places =
    offers === undefined
      ? []
      : offers === 'files'
        ? [`${within} -F`]
        : [
            `${within} -a ${offers === 'directories' ? "'(__fish_complete_directories)'" : quoted(offers.join(' '))}`,
          ]
  return [
    ...places,
    ...options.map(option => `${within} -l ${option.flag}${value(option)} -d ${quoted(option.meaning)}`),
  ]
}

/** A completion script for fish. */
export function fish(commands: readonly CompletedCommand[]): string {
  const names = commands.map(({ name }) => name)
  return [
    '# Completion of turbo-pi in fish, printed by turbo-pi completion fish.',
    'complete -c turbo-pi -f',
    ...commands.map(
      ({ name, summary }) => `complete -c turbo-pi -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}`,
    ),
    "complete -c turbo-pi -n __fish_use_subcommand -a help -d 'tell the options of a command'",
    "complete -c turbo-pi -n __fish_use_subcommand -l version -d 'tell the version'",
    "complete -c turbo-pi -l help -s h -d 'tell the options'",
    `complete -c turbo-pi -n '__fish_seen_subcommand_from help' -a ${quoted(names.join(' '))}`,
    ...commands.flatMap(lines),
  ].join('\n')
}
