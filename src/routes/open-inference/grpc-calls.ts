import type { FastifyBaseLogger } from 'fastify'
import { errorText, grpcStatusOf } from '../../contract/open-inference/errors.js'
import { problemOf } from '../../contract/problem.js'
import { TurboPiError } from '../../errors.js'
import type { Served } from '../../service/served.js'
import { authorizedKey } from '../access/api-key.js'
import { unauthorized } from '../access/browser-sessions.js'
import type { Key } from '../access/key.js'
import type { KeyRing } from '../access/key-ring.js'
import type { Connections } from '../connections.js'
import type { Refusals } from '../refusals.js'
import type { RequestMemory, Share } from '../request-memory.js'
import type { Robot, Robots } from '../robots.js'
import { Arrivals } from './grpc-arrivals.js'
import {
  Metadata,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  type StatusObject,
} from './grpc-js.js'

/** Methods that are answered without a key. */
const OPEN = /\/(?:ServerLive|ServerReady|ModelReady)$/

/** Letters of a status that every client's limit for headers takes. */
const MOST_DETAILS = 2000

export interface GrpcCallsOptions {
  /** Absent where the server asks for no keys. */
  keys: KeyRing | undefined
  robots: Robots
  refusals: Refusals
  connections: Connections
  memory: RequestMemory
  bodyLimit: number
  /** Milliseconds that a message may take to come in. */
  requestTimeout: number
  log: FastifyBaseLogger
}

/** Who calls, and what is known of the call so far. */
export interface GrpcCaller {
  /** The other end of the connection. */
  readonly peer: string
  readonly key: Key | undefined
  readonly robot: Robot | undefined
  /** The policy that is asked. */
  served?: Served
  /** A service has taken the call up, and counts its error. */
  reachedService?: boolean
}

/** What a call holds of the server. */
interface Held {
  /** Its message has come. */
  came(bytes: number): void
  end(): void
}

/** What holds for every call, as the hooks of the HTTP server do: keys, robots' names, memory, the time to come in, refusals. */
export class GrpcCalls {
  readonly arrivals: Arrivals
  readonly #options: GrpcCallsOptions
  readonly #callers = new WeakMap<Metadata, GrpcCaller>()
  #open = 0
  #idle: (() => void) | undefined

  constructor(options: GrpcCallsOptions) {
    this.#options = options
    this.arrivals = new Arrivals(options.memory, options.bodyLimit)
  }

  /** Before a message is read, who calls is known, or the call is refused. */
  readonly interceptor: ServerInterceptor = ({ path }, call) => {
    let held: Held | undefined
    return new ServerInterceptingCall(call, {
      start: next =>
        next({
          onReceiveMetadata: (metadata, proceed) => {
            // From here on the library tells when the call ends.
            held = this.#hold(call)
            try {
              this.#callers.set(metadata, this.#admitted(path, call.getPeer(), metadata))
            } catch (error) {
              held.end()
              return call.sendStatus(this.refused(error))
            }
            proceed(metadata)
          },
          onReceiveMessage: (message: Buffer, proceed) => {
            held?.came(message.byteLength)
            proceed(message)
          },
          onCancel: () => held?.end(),
        }),
      sendStatus: (status, next) => {
        held?.end()
        next(status)
      },
    })
  }

  callerOf(metadata: Metadata): GrpcCaller {
    return this.#callers.get(metadata)!
  }

  /** The status of an error, which is counted and told as those of HTTP are. */
  refused(error: unknown, caller?: GrpcCaller): StatusObject {
    const { refusals, log } = this.#options
    const problem = problemOf(error)
    const { served, robot, key } = caller ?? {}
    if (!caller?.reachedService) (served?.metrics ?? refusals).refused(problem.code)
    if (served) robot?.failed(served.name, problem.code)
    if (problem.status === 500) log.error({ err: error }, problem.title)
    else refusals.log(log, problem, { robot, key })
    const metadata = new Metadata()
    metadata.set('turbo-pi-code', problem.code)
    const details = errorText(problem).toWellFormed()
    return {
      code: grpcStatusOf(problem.status),
      details: details.length > MOST_DETAILS ? `${details.slice(0, MOST_DETAILS)}…` : details,
      metadata,
    }
  }

  /** Resolves when no call is open. */
  async finished(): Promise<void> {
    if (this.#open > 0)
      await new Promise<void>(resolve => {
        this.#idle = resolve
      })
  }

  #admitted(path: string, peer: string, metadata: Metadata): GrpcCaller {
    const { keys, robots, connections } = this.#options
    const socket = this.arrivals.socketOf(peer)
    if (socket) connections.peer(socket).heardAt = performance.now()
    if (OPEN.test(path)) return { peer, key: undefined, robot: undefined }
    const key = keys && keyOf(metadata, keys)
    key?.take()
    const name = textOf(metadata, 'x-robot')
    return { peer, key, robot: name === undefined ? undefined : robots.named(name) }
  }

  /** Holds the memory of a call from its first byte to its status. */
  #hold(call: ServerInterceptingCallInterface): Held {
    const { memory, requestTimeout } = this.#options
    let share: Share | undefined
    let ended = false
    const refuse = (error: TurboPiError) => {
      end()
      call.sendStatus(this.refused(error))
    }
    const arrived = this.arrivals.begin(call.getPeer(), refuse)
    const timer = setTimeout(() => refuse(tooSlow()), requestTimeout)
    const end = () => {
      if (ended) return
      ended = true
      clearTimeout(timer)
      arrived()
      share?.end()
      this.#open -= 1
      if (this.#open === 0) this.#idle?.()
    }
    this.#open += 1
    return {
      came: bytes => {
        if (ended) return
        clearTimeout(timer)
        arrived(bytes)
        share ??= memory.share(() => {})
        // The server works on it.
        share.droppable = false
        share.set(share.bytes + bytes)
      },
      end,
    }
  }
}

const tooSlow = () =>
  new TurboPiError(
    'REQUEST_TIMEOUT',
    'The message did not come in whole in the time that it may take (--request-timeout).',
  )

/** Throws UNAUTHORIZED. */
function keyOf(metadata: Metadata, keys: KeyRing): Key {
  const given = authorizedKey(textOf(metadata, 'authorization'))
  const key = given === undefined ? undefined : keys.find(given)
  if (!key) throw unauthorized()
  return key
}

/** One value of a name, which metadata may have several times. */
function textOf(metadata: Metadata, name: string): string | undefined {
  const [value] = metadata.get(name)
  return value === undefined ? undefined : value.toString()
}
