import { TurboPiError } from './errors.js'
import { ACCESS_SETTINGS } from './settings/access.js'
import { ENGINE_SETTINGS } from './settings/engine.js'
import { requireKnownVariables } from './settings/environment.js'
import { GENERAL_SETTINGS } from './settings/general.js'
import type { Values } from './settings/kinds.js'
import { LIMIT_SETTINGS } from './settings/limits.js'
import { GUARD_SETTINGS, POLICY_SETTINGS } from './settings/policy.js'
import { readOptions } from './settings/read.js'
import { RECORD_SETTINGS } from './settings/record.js'
import { TRACE_SETTINGS } from './settings/traces.js'

export { flagOf } from './settings/kinds.js'
export { type NamedDirectory, servedName } from './settings/policy.js'

/** Every setting of `turbo-pi serve`: its flag is the key in kebab-case. Other commands take some of them. */
export const SETTINGS = {
  ...POLICY_SETTINGS,
  ...ENGINE_SETTINGS,
  ...GUARD_SETTINGS,
  ...ACCESS_SETTINGS,
  ...LIMIT_SETTINGS,
  ...RECORD_SETTINGS,
  ...TRACE_SETTINGS,
  ...GENERAL_SETTINGS,
} as const

export type SettingName = keyof typeof SETTINGS
export type Config = Values<typeof SETTINGS>

/** True when only programs of this machine can connect. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host)

/**
 * The settings of a server: of flags, else environment variables, else the file of settings, else defaults.
 * Throws CONFIG_INVALID, naming the setting, what it takes and what came.
 */
export function loadConfig(argv: readonly string[], env: NodeJS.ProcessEnv = process.env): Config {
  return checkedConfig(readOptions(argv, SETTINGS, { command: 'serve', env, settings: SETTINGS }).values)
}

/** That every TURBO_PI_* variable is one that somebody reads. Throws CONFIG_INVALID. */
export const requireKnownSettings = (env: NodeJS.ProcessEnv): void =>
  requireKnownVariables(
    env,
    Object.values(SETTINGS).map(setting => setting.env),
  )

/** Every setting as it is when nobody says anything. */
export const defaultConfig = (): Config =>
  Object.fromEntries(Object.entries(SETTINGS).map(([name, setting]) => [name, setting.default])) as Config

/** That settings of a server do not contradict each other. Throws CONFIG_INVALID. */
export function checkedConfig(config: Config): Config {
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
