import { isDeepStrictEqual } from 'node:util'
import { type ObservationLimits, RequestParser } from '../contract/parse.js'
import { StreamProtocol } from '../contract/stream.js'
import { TurboPiError } from '../errors.js'
import type { ServiceListener } from './events.js'
import { PolicyService, type ServiceMetadata, type ServiceParts } from './service.js'

/** What answers at one moment: a policy's service, and what reads the observations that it takes. */
export interface Serving {
  readonly service: PolicyService
  readonly parser: RequestParser
  readonly stream: StreamProtocol
}

export interface ServedOptions extends ObservationLimits {
  /** Names the policy in addresses, metrics and the log: a letter or digit, then letters, digits, `.`, `_`, `-`. */
  name?: string
}

export interface SwapOptions {
  /** Takes a policy of another observation or other actions, too: robots must know of it. */
  anyShape?: boolean
}

const DEFAULT_LIMITS: ObservationLimits = { maxImages: 8 }

/**
 * What is served under one name: one policy at a time, and its exchange for the next without losing a request. Whoever
 * answers an observation takes `current` once and stays with it.
 */
export class Served {
  readonly name: string
  readonly #limits: ObservationLimits
  readonly #listeners = new Set<(serving: Serving) => void>()
  readonly #heard: ServiceListener[] = []
  #current: Serving
  #next: PolicyService | undefined
  #closed = false

  constructor(service: PolicyService, { name, ...limits }: Partial<ServedOptions> = {}) {
    this.name = name ?? 'default'
    this.#limits = { ...DEFAULT_LIMITS, ...limits }
    this.#current = this.#serving(service)
  }

  get current(): Serving {
    return this.#current
  }

  /** The counters of all policies that were served under this name. */
  get metrics() {
    return this.#current.service.metrics
  }

  /** Hears of every exchange, after it; returns how to stop. */
  onSwap(listener: (serving: Serving) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Hears the events of every service, whichever policy is being served. */
  listen(listener: ServiceListener): void {
    this.#heard.push(listener)
    this.#current.service.events.listen(listener)
  }

  /**
   * Starts the next policy beside the one that serves, and exchanges them once its self-test has passed: observations
   * that come later are the next one's, those accepted before are still answered by the old one, which is then closed.
   * Resolves when that is done. Throws SWAP_REFUSED when another swap is under way or the next policy takes other
   * observations or gives other actions, and whatever keeps the next one from starting; the old one then goes on.
   */
  async swap(parts: ServiceParts, { anyShape = false }: SwapOptions = {}): Promise<void> {
    const { held } = this.#current.service
    const next = new PolicyService({ ...parts, metrics: this.metrics, held })
    try {
      this.#requireFree()
      if (!anyShape) requireSameShape(this.#current.service.metadata(), next.metadata())
      this.#next = next
      await next.start()
      if (this.#closed) throw new TurboPiError('SHUTTING_DOWN', 'The server stops; nothing was exchanged.')
    } catch (error) {
      await next.close()
      throw error
    } finally {
      if (this.#next === next) this.#next = undefined
    }
    const old = this.#current.service
    for (const listener of this.#heard) next.events.listen(listener)
    this.#current = this.#serving(next)
    for (const listener of this.#listeners) listener(this.#current)
    await old.close({ patient: true }).catch(error => {
      const { warn = (message: string) => process.emitWarning(message) } = parts
      warn('The policy that was exchanged could not be closed', error)
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([this.#current.service.close(), this.#next?.close()])
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #requireFree(): void {
    if (this.#closed) throw new TurboPiError('SHUTTING_DOWN', 'This server takes no more work.')
    if (this.#next)
      throw new TurboPiError(
        'SWAP_REFUSED',
        `Another policy is taking the place of ${this.name} already; ask again when it has.`,
      )
  }

  #serving(service: PolicyService): Serving {
    const { observation, shape } = service.metadata()
    const parser = new RequestParser(observation, shape, this.#limits)
    return { service, parser, stream: new StreamProtocol(parser, observation, shape) }
  }
}

/** True when robots need not know which of the two answers them. */
export function sameShape(one: ServiceMetadata, other: ServiceMetadata): boolean {
  return differing(one, other).length === 0
}

function differing(one: ServiceMetadata, other: ServiceMetadata) {
  const parts = ({ observation, shape }: ServiceMetadata) => ({
    cameras: observation.cameras,
    state: observation.state,
    prompt: observation.prompt.key,
    actions: { horizon: shape.horizon, size: shape.actionSize },
  })
  const [now, next] = [parts(one), parts(other)]
  return (Object.keys(now) as (keyof typeof now)[])
    .filter(part => !isDeepStrictEqual(now[part], next[part]))
    .map(part => ({ part, now: now[part], next: next[part] }))
}

function requireSameShape(one: ServiceMetadata, other: ServiceMetadata): void {
  const [first] = differing(one, other)
  if (!first) return
  throw new TurboPiError(
    'SWAP_REFUSED',
    `The next policy has other ${first.part} than the one being served: ${JSON.stringify(first.next)} in place of ${JSON.stringify(first.now)}. Robots would send the wrong observations or read the wrong actions; allow any shape if they know.`,
  )
}
