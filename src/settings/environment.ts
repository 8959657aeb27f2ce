import { TurboPiError } from '../errors.js'
import { didYouMean, ended } from './suggestion.js'

/** Variables of the house that are no settings of the server. */
export const PROGRAM_VARIABLES: Readonly<Record<string, string>> = {
  TURBO_PI_NATIVE: 'file of the native addon (turbo_pi.node), in place of the one that is looked for',
  TURBO_PI_KERNELS: 'file of the CUDA kernels (kernels.fatbin), in place of the one beside the addon',
  TURBO_PI_IMAGE: 'image that deploy/compose runs',
}

/** What Kubernetes tells every pod of a service whose name begins with turbo-pi. */
const isServiceLink = (name: string, value: string) =>
  /_SERVICE_(?:HOST|PORT(?:_\w+)?)$|_PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?$/.test(name) ||
  (/_PORT$/.test(name) && /^(?:tcp|udp|sctp):\/\//.test(value))

/** That every TURBO_PI_* variable is one that somebody reads. Throws CONFIG_INVALID. */
export function requireKnownVariables(env: NodeJS.ProcessEnv, settings: readonly string[]): void {
  const known = new Set([...settings, ...Object.keys(PROGRAM_VARIABLES)])
  const given = Object.entries(env).filter(([name]) => name.startsWith('TURBO_PI_'))
  const link = given.find(([name, value = '']) => isServiceLink(name, value))
  if (link)
    throw new TurboPiError(
      'CONFIG_INVALID',
      `The environment has ${link.join('=')}, which Kubernetes sets in every pod for a service whose name begins with turbo-pi. Set enableServiceLinks: false in the pod's spec, or give the service another name.`,
    )
  const unknown = given.map(([name]) => name).find(name => !known.has(name))
  if (unknown !== undefined)
    throw new TurboPiError(
      'CONFIG_INVALID',
      `${ended(`The environment has ${unknown}, which is no setting${didYouMean(unknown, known)}`)} docs/reference/config.md lists them.`,
    )
}
