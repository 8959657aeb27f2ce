import { resolve } from 'node:path'
import { file, flag, integer, list, settings, text } from './kinds.js'

const absolute = (value: string) => {
  if (value === '') throw new Error('a path')
  return resolve(value)
}

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
export const ACCESS_SETTINGS = settings('Address and access', {
  host: text({ default: '127.0.0.1', takes: 'HOST', meaning: 'address to listen on' }),
  port: integer({ default: 8000, min: 0, max: 65535, meaning: 'port to listen on; 0 takes a free one' }),
  grpcPort: integer({
    default: -1,
    min: -1,
    max: 65535,
    meaning: 'port to listen on for the Open Inference Protocol over gRPC; -1: none, 0 takes a free one',
  }),
  apiKey: text({
    takes: 'KEY',
    meaning:
      'key that callers must send as `Authorization: Api-Key …` or `Bearer …`; give it in the environment, the command line is seen by all users of the machine',
    parse: value => {
      if (value === '') throw new Error('a key')
      return value
    },
  }),
  apiKeys: file({
    meaning: 'JSON file of several keys with names and limits; read again on SIGHUP',
    parse: absolute,
  }),
  allowAnonymous: flag({ meaning: 'listen on an address other than loopback without an API key' }),
  allowedHosts: list({
    takes: 'HOST,…',
    meaning:
      'names, besides loopback’s, by which the server may be called (Host) and from whose pages (Origin); on other addresses than loopback all are allowed when none is given',
    parse: host,
  }),
  corsOrigin: list({
    takes: 'ORIGIN,…',
    meaning: 'origins of pages elsewhere, such as dashboards, that may read answers and open WebSockets',
    parse: origin,
  }),
  tlsCert: file({
    meaning: 'certificate chain (PEM) to serve HTTPS and WSS with; read again on SIGHUP',
    parse: absolute,
  }),
  tlsKey: file({ meaning: 'private key (PEM) of --tls-cert', parse: absolute }),
  tlsClientCa: file({
    meaning: 'authorities (PEM) whose client certificates are asked for; callers without one are refused',
    parse: absolute,
  }),
  basePath: text({
    default: '',
    takes: 'PATH',
    meaning: 'path under which a proxy shows the server, such as /arm-1',
    parse: value => {
      if (!/^(?:\/[\w.~-]+)+$/.test(value))
        throw new Error('a path such as /arm-1, without a slash at its end')
      return value
    },
  }),
  trustProxy: list({
    takes: 'NETWORK,…',
    meaning: 'proxies whose X-Forwarded-For, -Host and -Proto are believed',
    parse: proxy,
  }),
  allowSwap: flag({
    meaning:
      'let holders of the API key put another policy directory of this machine in the place of one that is served',
  }),
})
