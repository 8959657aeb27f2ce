import { type ParseArgsConfig, parseArgs } from 'node:util'

type OptionsConfig = NonNullable<ParseArgsConfig['options']>

/** Takes a command's own options out of `argv`; `rest` is for `loadConfig`, which refuses what it does not know. */
export function takeOptions<const T extends OptionsConfig>(argv: readonly string[], options: T) {
  const { values, tokens } = parseArgs({ args: [...argv], options, strict: false, tokens: true })
  const used = new Set<number>()
  for (const token of tokens) {
    if (token.kind !== 'option' || !Object.hasOwn(options, token.name)) continue
    used.add(token.index)
    if (token.value !== undefined && !token.inlineValue) used.add(token.index + 1)
  }
  return {
    own: values as ReturnType<typeof parseArgs<{ options: T }>>['values'],
    rest: argv.filter((_, index) => !used.has(index)),
  }
}
