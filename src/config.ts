import { basename, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { ACCESS_SETTINGS } from './access-settings.js'
import { TurboPiError } from './errors.js'
import { LIMIT_SETTINGS } from './limit-settings.js'
import { PRECISIONS } from './onnx/arithmetic.js'
import { RUNTIMES } from './runtime/backends.js'
import { choice, flag, integer, optionalText, type Setting } from './setting.js'

/** A policy directory and the name under which it is served. */
export interface NamedDirectory {
  name: string
  directory: string
}

/** `name=DIR`, of which the name stands in addresses and metrics; a `/` before the `=` belongs to a directory. */
const NAMED = /^([A-Za-z0-9][\w.-]{0,62})=(.*)$/

/** A directory without a name is called after its last folder. */
function namedDirectories(value: string): NamedDirectory[] {
  const named = value.split(',').map(text => {
    const [, name, directory = text.trim()] = NAMED.exec(text.trim()) ?? []
    if (directory === '') throw new Error('a directory or name=directory, several separated by commas')
    return { name: name ?? servedName(basename(resolve(directory))), directory }
  })
  if (new Set(named.map(({ name }) => name)).size < named.length)
    throw new Error('policies of different names: give each one as name=directory')
  return named
}

/** A text made fit for addresses. */
export const servedName = (text: string) =>
  text
    .replaceAll(/[^\w.-]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 63) || 'policy'

/** Every setting of `turbo-pi serve`: its flag is the key in kebab-case. */
export const SETTINGS = {
  ...ACCESS_SETTINGS,
  policy: {
    env: 'TURBO_PI_POLICY',
    default: [],
    meaning:
      'policy directory; the bundled one when absent. Several as name=DIR each: the first is served at /, every one under /policies/<name>/',
    parse: namedDirectories,
    multiple: true,
  } as Setting<readonly NamedDirectory[]>,
  allowSwap: flag(
    'TURBO_PI_ALLOW_SWAP',
    'let holders of the API key put another policy directory of this machine in the place of one that is served',
  ),
  randomWeights: choice(
    'TURBO_PI_RANDOM_WEIGHTS',
    'off',
    ['off', 'pi05', 'pi0'],
    'instead of a policy, seeded random weights of a released model’s full size: for measuring, the actions mean nothing',
  ),
  config: optionalText(
    'TURBO_PI_CONFIG',
    'preset for a checkpoint directory without policy.json, for example pi05_libero',
  ),
  adapter: optionalText(
    'TURBO_PI_ADAPTER',
    'folder of a PEFT adapter (LoRA) that is merged into the policy’s weights',
  ),
  normStats: optionalText('TURBO_PI_NORM_STATS', 'norm_stats.json, when the checkpoint directory has none'),
  tokenizer: optionalText(
    'TURBO_PI_TOKENIZER',
    'tokenizer file (.model or tokenizer.json), when the directory has none',
  ),
  defaultPrompt: optionalText('TURBO_PI_DEFAULT_PROMPT', 'prompt of observations that carry none'),
  runtime: choice(
    'TURBO_PI_RUNTIME',
    'auto',
    RUNTIMES,
    'what computes; tensorrt_pipelined is tensorrt with --pipeline on',
  ),
  precision: choice(
    'TURBO_PI_PRECISION',
    'auto',
    ['auto', ...PRECISIONS],
    'arithmetic of the network; auto is fp32 on CPUs, bf16 on GPUs',
  ),
  threads: integer('TURBO_PI_THREADS', 0, 0, 1024, 'threads of the CPU runtime; 0 takes one a physical core'),
  pipeline: choice(
    'TURBO_PI_PIPELINE',
    'auto',
    ['auto', 'on', 'off'],
    'overlap the prefix of one batch with the denoising of another; auto is off on CPUs, on on GPUs',
  ),
  maxBatch: integer('TURBO_PI_MAX_BATCH', 8, 1, 256, 'observations that share one engine call'),
  numSteps: integer(
    'TURBO_PI_NUM_STEPS',
    0,
    0,
    50,
    'denoise steps when a request names none; 0 takes the policy’s',
  ),
  queueLimit: integer(
    'TURBO_PI_QUEUE_LIMIT',
    64,
    1,
    100_000,
    'requests that may be prepared or wait; more are answered 503',
  ),
  engineTimeout: integer(
    'TURBO_PI_ENGINE_TIMEOUT',
    5000,
    100,
    3_600_000,
    'milliseconds that a call of the engine may take at least; one that takes longer, and 20 times as long as recent ones, has hung',
  ),
  guard: choice(
    'TURBO_PI_GUARD',
    'auto',
    ['auto', 'report', 'clamp', 'refuse', 'hold'],
    'what to do with what the guards find; hold refuses until the robot is cleared; auto is what policy.json says, else report',
  ),
  guardMargin: integer(
    'TURBO_PI_GUARD_MARGIN',
    -1,
    -1,
    10_000,
    'width of the guard’s margin, in percent of q99 − q01; -1 takes the policy’s, else 50',
  ),
  ...LIMIT_SETTINGS,
  visionCache: integer(
    'TURBO_PI_VISION_CACHE',
    16,
    0,
    4096,
    'image embeddings kept for images seen again; 0 switches it off',
  ),
  watchSessions: flag(
    'TURBO_PI_WATCH_SESSIONS',
    'keep the last observation of each session and show it on the page: whoever opens the page sees the cameras',
  ),
  cacheDir: optionalText(
    'TURBO_PI_CACHE',
    'where lowered weights and engines are kept; ~/.cache/turbo-pi when absent',
  ),
  drainTimeout: integer(
    'TURBO_PI_DRAIN_TIMEOUT',
    10_000,
    0,
    600_000,
    'milliseconds that a stop waits for answers in flight',
  ),
  logLevel: choice(
    'TURBO_PI_LOG_LEVEL',
    'info',
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
    'how much is logged',
  ),
} as const satisfies Record<string, Setting<unknown>>

type Settings = typeof SETTINGS
export type Config = { -readonly [K in keyof Settings]: Settings[K] extends Setting<infer T> ? T : never }

/** `maxImagePixels` → `max-image-pixels`. */
export const flagOf = (name: string) => name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)

/** True when only programs of this machine can connect. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host)

/**
 * Reads flags, then environment variables, then defaults.
 * Throws CONFIG_INVALID, naming the setting, what it takes and what came.
 */
export function loadConfig(argv: readonly string[], env: NodeJS.ProcessEnv = process.env): Config {
  const names = Object.keys(SETTINGS) as (keyof Settings)[]
  const options = Object.fromEntries(
    names.map(name => [
      flagOf(name),
      {
        type: typeof SETTINGS[name].default === 'boolean' ? 'boolean' : 'string',
        multiple: 'multiple' in SETTINGS[name],
      } as const,
    ]),
  )
  let values: Record<string, unknown>
  try {
    values = parseArgs({ args: [...argv], options, strict: true, allowNegative: true } as Parameters<
      typeof parseArgs
    >[0]).values
  } catch (error) {
    throw new TurboPiError('CONFIG_INVALID', `${(error as Error).message} See turbo-pi serve --help.`)
  }
  const config: Record<string, unknown> = {}
  for (const name of names) {
    const setting: Setting<unknown> = SETTINGS[name]
    const flagged = values[flagOf(name)]
    const given = (Array.isArray(flagged) ? flagged.join(',') : flagged) ?? env[setting.env]
    if (given === undefined || given === '') config[name] = setting.default
    else
      try {
        config[name] = setting.parse(String(given))
      } catch (error) {
        throw new TurboPiError(
          'CONFIG_INVALID',
          `--${flagOf(name)} (${setting.env}) takes ${(error as Error).message}, got ${JSON.stringify(given)}.`,
        )
      }
  }
  return checked(config as Config)
}

function checked(config: Config): Config {
  if (config.randomWeights !== 'off' && config.policy.length > 0)
    throw new TurboPiError(
      'CONFIG_INVALID',
      `--policy ${config.policy[0]?.directory} and --random-weights ${config.randomWeights} exclude each other: leave one out.`,
    )
  const keyed = config.apiKey !== undefined || config.apiKeys !== undefined
  if (!isLoopback(config.host) && !keyed && !config.tlsClientCa && !config.allowAnonymous)
    throw new TurboPiError(
      'CONFIG_INVALID',
      `--host ${config.host} is open to other machines: set TURBO_PI_API_KEY or --api-keys, or pass --allow-anonymous to serve everybody.`,
    )
  if (config.allowSwap && !keyed)
    throw new TurboPiError(
      'CONFIG_INVALID',
      '--allow-swap lets callers choose what moves the robots: set TURBO_PI_API_KEY or --api-keys, so that not everybody may.',
    )
  if (
    (config.tlsCert === undefined) !== (config.tlsKey === undefined) ||
    (config.tlsClientCa && !config.tlsCert)
  )
    throw new TurboPiError(
      'CONFIG_INVALID',
      'TLS needs --tls-cert and --tls-key, both; --tls-client-ca needs them, too.',
    )
  return config
}

/** Lines of `turbo-pi serve --help`. */
export function settingsHelp(): string {
  return Object.entries(SETTINGS)
    .map(
      ([name, setting]) => `  --${flagOf(name).padEnd(18)} ${setting.meaning}${showDefault(setting.default)}`,
    )
    .join('\n')
}

const showDefault = (value: unknown) => {
  const shown = value === undefined || value === false ? '' : String(value)
  return shown && ` [${shown}]`
}
