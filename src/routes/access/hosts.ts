import type { FastifyInstance, FastifyRequest } from 'fastify'
import { isLoopback } from '../../config.js'
import { TurboPiError } from '../../errors.js'

/** By which names a server may be called, and from which pages. */
export interface HostRules {
  /** Names besides loopback's. */
  hosts: ReadonlySet<string>
  /** Only programs of this machine can connect: a page that calls by another name has rebound it. */
  loopback: boolean
  /** Origins of pages elsewhere. */
  origins: ReadonlySet<string>
}

export const OWN_PAGES: HostRules = { hosts: new Set(), loopback: false, origins: new Set() }

/** Names of a Host header that were let in; they repeat. */
const REMEMBERED = 64

/**
 * Refuses calls by a foreign name, and calls of foreign pages: any page that is open in a browser on the robot's machine could
 * reach a server there, by a name of its own that it lets stand for 127.0.0.1. An address is no such name.
 */
export function knownCallers(app: FastifyInstance, rules: HostRules): void {
  const named = rules.loopback || rules.hosts.size > 0
  const known = new Set<string>()
  app.addHook('onRequest', (request, _reply, done) => {
    const { host } = request
    if (named && !known.has(host)) {
      if (!allowed(host, rules)) return done(foreignHost(host))
      if (known.size < REMEMBERED) known.add(host)
    }
    done(originFault(request, rules))
  })
}

/** The same for the WebSockets of routes within another program's app, which has its own rules for the rest. */
export function knownPages(app: FastifyInstance, rules: HostRules): void {
  app.addHook('onRequest', (request, _reply, done) => {
    done(request.ws ? originFault(request, rules) : undefined)
  })
}

function allowed(host: string, { hosts, loopback }: HostRules): boolean {
  const name = nameOf(host)
  if (isLoopback(name.replace(/^\[(.*)\]$/, '$1')) || hosts.has(name)) return true
  return !loopback && /^(?:\[[0-9a-f:.]+\]|\d{1,3}(?:\.\d{1,3}){3})$/.test(name)
}

/** A host without its port. */
const nameOf = (host: string) => host.toLowerCase().replace(/:\d{1,5}$/, '')

/** Browsers send the origin of the page; programs send none and are not concerned. */
function originFault(request: FastifyRequest, { hosts, origins }: HostRules): TurboPiError | undefined {
  const { origin } = request.headers
  if (origin === undefined || origins.has(origin)) return undefined
  if (URL.canParse(origin)) {
    const { host, hostname, protocol } = new URL(origin)
    if (hosts.has(hostname) || (host === request.host && protocol === `${request.protocol}:`))
      return undefined
  }
  return new TurboPiError(
    'ORIGIN_FORBIDDEN',
    `A page of ${shown(origin)} asked ${shown(request.host)}; only the server's own page may, and those of --allowed-hosts and --cors-origin.`,
  )
}

const foreignHost = (host: string) =>
  new TurboPiError(
    'HOST_FORBIDDEN',
    `This server is not called ${shown(host)}. Call it by its address, or name the host with --allowed-hosts.`,
  )

const shown = (text: string) => JSON.stringify(text.slice(0, 100))
