import { resolve } from 'node:path'
import { flag, integer, list, optionalText, text } from './setting.js'

const file = (value: string) => resolve(value)

/** A name or address without scheme and port. */
function host(value: string): string {
  const name = value.toLowerCase()
  if (!/^(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])$/.test(name))
    throw new Error('host names without scheme and port, several separated by commas')
  return name
}

function origin(value: string): string {
  if (!URL.canParse(value) || new URL(value).origin !== value)
    throw new Error('origins such as https://dashboard.example, several separated by commas')
  return value
}

function proxy(value: string): string {
  if (!/^(?:loopback|linklocal|uniquelocal|[0-9a-f.:]+(?:\/\d{1,3})?)$/i.test(value))
    throw new Error('addresses or networks such as 10.0.0.0/8 or loopback, several separated by commas')
  return value
}

/** Who may speak to the server, and over what. */
export const ACCESS_SETTINGS = {
  host: text('TURBO_PI_HOST', '127.0.0.1', 'address to listen on'),
  port: integer('TURBO_PI_PORT', 8000, 0, 65535, 'port to listen on; 0 takes a free one'),
  apiKey: optionalText(
    'TURBO_PI_API_KEY',
    'key that callers must send as `Authorization: Api-Key …` or `Bearer …`; give it in the environment, the command line is seen by all users of the machine',
  ),
  apiKeys: optionalText(
    'TURBO_PI_API_KEYS',
    'JSON file of several keys with names and limits; read again on SIGHUP',
    file,
  ),
  allowAnonymous: flag(
    'TURBO_PI_ALLOW_ANONYMOUS',
    'listen on an address other than loopback without an API key',
  ),
  allowedHosts: list(
    'TURBO_PI_ALLOWED_HOSTS',
    'names, besides loopback’s, by which the server may be called (Host) and from whose pages (Origin); on other addresses than loopback all are allowed when none is given',
    host,
  ),
  corsOrigin: list(
    'TURBO_PI_CORS_ORIGIN',
    'origins of pages elsewhere, such as dashboards, that may read answers and open WebSockets',
    origin,
  ),
  tlsCert: optionalText(
    'TURBO_PI_TLS_CERT',
    'certificate chain (PEM) to serve HTTPS and WSS with; read again on SIGHUP',
    file,
  ),
  tlsKey: optionalText('TURBO_PI_TLS_KEY', 'private key (PEM) of --tls-cert', file),
  tlsClientCa: optionalText(
    'TURBO_PI_TLS_CLIENT_CA',
    'authorities (PEM) whose client certificates are asked for; callers without one are refused',
    file,
  ),
  basePath: {
    ...text('TURBO_PI_BASE_PATH', '', 'path under which a proxy shows the server, such as /arm-1'),
    parse: (value: string) => {
      if (!/^(?:\/[\w.~-]+)+$/.test(value))
        throw new Error('a path such as /arm-1, without a slash at its end')
      return value
    },
  },
  trustProxy: list(
    'TURBO_PI_TRUST_PROXY',
    'proxies whose X-Forwarded-For, -Host and -Proto are believed',
    proxy,
  ),
} as const
