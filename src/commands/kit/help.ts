import { byGroup, flagOf, type Setting } from '../../settings/kinds.js'
import type { Description } from './description.js'

/** Columns before the text of an option. */
const INDENT = 28
const DEFAULT_WIDTH = 120

type Option = Setting<unknown> & { readonly group?: string; readonly env?: string }

/** The text of `turbo-pi help COMMAND`. */
export function commandHelp(
  { name, forms, about, options, settings }: Description,
  width = DEFAULT_WIDTH,
): string {
  const groups = byGroup<Option>({ ...options, ...settings }, ({ group = 'Options' }) => group)
  const tables = [...groups].map(([group, options]) =>
    [`${group}:`, ...options.map(([name, option]) => optionHelp(name, option, width))].join('\n'),
  )
  return [
    forms.map(form => `turbo-pi ${name} ${form}`.trimEnd()).join('\n'),
    about
      .trim()
      .split(/\n{2,}/)
      .map(paragraph => (/^ /m.test(paragraph) ? paragraph : wrapped(paragraph, width)))
      .join('\n\n'),
    ...tables,
    ...(Object.keys(settings).length > 0 ? [wrapped(SOURCES, width)] : []),
  ].join('\n\n')
}

const SOURCES =
  'Settings (all groups that turbo-pi serve has, too) are also read from the environment, --max-batch from TURBO_PI_MAX_BATCH, and from a file, --config-file. The command line wins over the environment, that over the file, and that over the default in brackets. docs/reference/config.md has them all.'

function optionHelp(name: string, option: Option, width: number): string {
  const head = `  --${flagOf(name)}${option.takes ? ` ${short(option)}` : ''}`
  const lines = wrapped(`${option.meaning}${notes(option)}`, width - INDENT).split('\n')
  const pad = ' '.repeat(INDENT)
  return head.length < INDENT - 1
    ? [head.padEnd(INDENT) + lines[0], ...lines.slice(1).map(line => pad + line)].join('\n')
    : [head, ...lines.map(line => pad + line)].join('\n')
}

/** Long lists of choices stand in the text, so that the columns stay. */
const isLong = ({ takes = '' }: Option) => takes.includes('|') && takes.length > 24
const short = (option: Option) => (isLong(option) ? 'NAME' : option.takes)

/** ` (choices or bounds) [default]`. */
function notes(option: Option): string {
  const { bounds, takes = '', multiple } = option
  const said = [isLong(option) ? takes.replaceAll('|', ', ') : bounds, multiple && 'several times']
    .filter(Boolean)
    .join('; ')
  const otherwise = shownDefault(option)
  return `${said && ` (${said})`}${otherwise && ` [${otherwise}]`}`
}

/** A default as people write it; empty where there is none. */
export function shownDefault({ default: value, otherwise }: Setting<unknown>): string {
  if (otherwise !== undefined) return otherwise
  if (value === undefined || value === false || (Array.isArray(value) && value.length === 0)) return ''
  return Array.isArray(value) ? value.join(',') : String(value)
}

/** A text in lines of at most so many columns. */
export function wrapped(text: string, width: number): string {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(/\s+/)) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line].join('\n')
}
