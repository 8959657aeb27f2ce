import { STRATEGIES, type Strategy } from '../../../src/client/index.js'
import { MAX_STEPS } from '../../../src/families/pi0/sampling.js'
import { PRECISIONS, type Precision } from '../../../src/onnx/arithmetic.js'
import { RUNTIMES } from '../../../src/runtime/backends.js'
import { MUTATION_NAMES, type MutationName } from './mutations.js'

export type Runtime = (typeof RUNTIMES)[number]

/** One setting under which all episodes are played. */
export interface Condition {
  /** Names it in files and reports. */
  name: string
  runtime: Runtime
  precision: Precision
  /** Denoise steps. */
  steps: number
  /** Control steps of simulated time from an observation to its answer. */
  delay: number
  strategy: Strategy
  mutation: MutationName
}

/** The values of the axes; one that is not given stays at its default. */
export interface Axes {
  /** The default backend. */
  base: string
  backends: readonly string[]
  steps: readonly number[]
  delay: readonly number[]
  strategy: readonly string[]
  mutations: readonly string[]
}

const DEFAULT = {
  steps: 10,
  delay: 0,
  strategy: 'sync',
  mutation: 'none',
} as const satisfies Partial<Condition>

/**
 * What is to be played: the default, to which everything is compared, and each value of each axis with the rest at its default;
 * delays with strategies. Throws an Error for a value that there is not.
 */
export function conditionsOf({ base, backends, steps, delay, strategy, mutations }: Axes): Condition[] {
  const standard = { ...DEFAULT, ...backendOf(base) }
  const strategies = strategy.map(name => oneOf('strategy', name, STRATEGIES))
  const delays = delay.length === 0 && strategies.length > 0 ? [DEFAULT.delay] : delay
  const asked: Partial<Condition>[] = [
    {},
    ...backends.map(backendOf),
    ...steps.map(number => ({ steps: number })),
    ...delays.flatMap(ticks =>
      (strategies.length > 0 ? strategies : [DEFAULT.strategy]).map(name => ({
        delay: ticks,
        strategy: name,
      })),
    ),
    ...mutations.map(name => ({ mutation: oneOf('mutations', name, MUTATION_NAMES) })),
  ]
  const wrong = steps.find(number => number > MAX_STEPS)
  if (wrong !== undefined) throw new Error(`--steps takes at most ${MAX_STEPS}, got ${wrong}`)
  const all = asked.map(changes => named({ ...standard, ...changes }))
  return all.filter(({ name }, index) => all.findIndex(other => other.name === name) === index)
}

/** `cpu:int8` */
function backendOf(text: string): Pick<Condition, 'runtime' | 'precision'> {
  const [runtime = '', precision = ''] = text.split(':')
  return {
    runtime: oneOf('backends', runtime, RUNTIMES),
    precision: oneOf('backends', precision, PRECISIONS),
  }
}

function named(condition: Omit<Condition, 'name'>): Condition {
  const { runtime, precision, steps, delay, strategy, mutation } = condition
  const parts = [
    `${runtime}:${precision}`,
    `${steps} steps`,
    ...(delay === 0 && strategy === 'sync' ? [] : [`delay ${delay} ${strategy}`]),
    ...(mutation === 'none' ? [] : [mutation]),
  ]
  return { ...condition, name: parts.join(', ') }
}

function oneOf<T extends string>(option: string, text: string, choices: readonly T[]): T {
  const found = choices.find(choice => choice === text)
  if (found === undefined)
    throw new Error(`--${option} takes ${choices.join(', ')}, got ${text || 'nothing'}`)
  return found
}
