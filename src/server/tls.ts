import { readFileSync } from 'node:fs'
import type { ServerOptions } from 'node:https'
import type { Server } from 'node:net'
import { createSecureContext, type Server as TlsServer } from 'node:tls'
import type { Config } from '../config.js'
import { reasonOf, TurboPiError } from '../errors.js'

export type TlsFiles = Partial<Pick<Config, 'tlsCert' | 'tlsKey' | 'tlsClientCa'>>

/** Certificate and key for Node.js, checked; undefined without them. Throws CONFIG_INVALID with the file. */
export function tlsOptions({ tlsCert, tlsKey, tlsClientCa }: TlsFiles): ServerOptions | undefined {
  if (tlsCert === undefined || tlsKey === undefined) return undefined
  const options: ServerOptions = {
    cert: read('--tls-cert', tlsCert),
    key: read('--tls-key', tlsKey),
    ...(tlsClientCa !== undefined && { ca: read('--tls-client-ca', tlsClientCa) }),
    requestCert: tlsClientCa !== undefined,
    rejectUnauthorized: tlsClientCa !== undefined,
    minVersion: 'TLSv1.2',
  }
  try {
    createSecureContext(options)
  } catch (error) {
    throw new TurboPiError(
      'CONFIG_INVALID',
      `${tlsCert} and ${tlsKey} cannot be used: ${reasonOf(error)}. Give a certificate chain and its own key, both PEM, the key without a passphrase.`,
    )
  }
  return options
}

/** Reads certificate and key again; connections that come from now on get them. Throws CONFIG_INVALID, and changes nothing then. */
export function reloadTls(server: Server, files: TlsFiles): void {
  const options = tlsOptions(files)
  if (options) (server as TlsServer).setSecureContext(options)
}

function read(flag: string, file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    throw new TurboPiError('CONFIG_INVALID', `${flag} ${file} cannot be read: ${reasonOf(error)}.`)
  }
}
