/** Options of a tool that is no command of turbo-pi, in its own words, by the one grammar of the command line. */
import * as kinds from '../../settings/kinds.js'
import { readOptions as read } from '../../settings/read.js'

const meaning = ''

export const flag = () => kinds.flag({ meaning })
export const texts = () => kinds.texts({ meaning })
export const integer = (otherwise: number, min: number, max: number) =>
  kinds.integer({ default: otherwise, min, max, meaning })
export const integers = (otherwise: readonly number[], min: number, max: number) =>
  kinds.integers({ default: otherwise, min, max, meaning })
export const number = (otherwise: number, min: number, max: number) =>
  kinds.number({ default: otherwise, min, max, meaning })

export function text(): kinds.Setting<string | undefined>
export function text(otherwise: string): kinds.Setting<string>
export function text(otherwise?: string): kinds.Setting<string | undefined> {
  return otherwise === undefined ? kinds.text({ meaning }) : kinds.text({ default: otherwise, meaning })
}

/** Throws CONFIG_INVALID. */
export const readOptions = <const O extends kinds.Options>(
  argv: readonly string[],
  options: O,
  help: string,
  tool = 'loadtest',
): { own: kinds.Values<O> } => ({
  own: read(argv, options, { command: tool, env: {}, settings: {}, more: help }).values,
})
