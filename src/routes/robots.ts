import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { InferenceAnswer } from '../contract/answer.js'
import { shown } from '../contract/limits.js'
import { problemOf } from '../contract/problem.js'
import type { SkipReason } from '../contract/stream-messages.js'
import { TurboPiError } from '../errors.js'
import { RobotFigures } from './robot-figures.js'

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/** Seconds of ages that are told apart: robots ask some ten times a second. */
const AGES = [0.01, 0.02, 0.04, 0.08, 0.12, 0.16, 0.2, 0.3, 0.5, 1, 2, 5]

/** Milliseconds that a robot is remembered after its last connection or request. */
const REMEMBERED_MS = 600_000

export interface RobotLimits {
  /** Robots that are known at a time. */
  maxRobots: number
  /** WebSocket connections that one robot may have at a time. */
  maxConnections: number
}

/** What a request may say of who sends it. */
interface NamedRequest {
  headers: IncomingHttpHeaders
  query: unknown
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The robot that has named itself in this request. */
    robot: Robot | undefined
  }
}

/**
 * Lets requests for a policy, which `policyOf` names, name their robot. To be added after the hook that asks for keys:
 * strangers fill no list.
 */
export function robotNames(
  app: FastifyInstance,
  robots: Robots,
  policyOf: (request: FastifyRequest) => string | undefined,
): void {
  app.decorateRequest('robot', undefined)
  app.addHook('onRequest', async request => {
    request.robot = robots.of(request)
    if (request.ws && request.robot) robots.admit(request.robot)
  })
  app.addHook('onError', async (request, _reply, error) => {
    const policy = policyOf(request)
    if (policy !== undefined) request.robot?.failed(policy, problemOf(error).code)
  })
}

/** A robot that has named itself. `policy`: the name under which what it asked is served. */
export interface Robot {
  readonly name: string
  answered(policy: string, ageMs: number, answer: Pick<InferenceAnswer, 'late' | 'guard'>): void
  skipped(policy: string, reason: SkipReason): void
  /** `code`: of the error. */
  failed(policy: string, code: string): void
}

interface Known extends Robot {
  readonly figures: RobotFigures
  connections: number
  seenAt: number
}

/**
 * The robots that have named themselves, and their numbers, by the policy that they ask. Each name costs memory and lines of
 * /metrics, so their number is bounded; one that has been away for a while makes room for another. A name is no proof of identity.
 */
export class Robots {
  readonly registry = new Registry()
  readonly #known = new Map<string, Known>()
  /** Names of policies that robots have asked: as many as are served. */
  readonly #policies = new Set<string>()
  readonly #limits: RobotLimits
  readonly #answers: Counter<'robot' | 'policy'>
  readonly #errors: Counter<'robot' | 'policy'>
  readonly #skipped: Counter<'robot' | 'policy' | 'reason'>
  readonly #late: Counter<'robot' | 'policy'>
  readonly #findings: Counter<'robot' | 'policy'>
  readonly #connections: Gauge<'robot' | 'policy'>
  readonly #age: Gauge<'robot' | 'policy'>
  readonly #ages: Histogram<'policy'>

  constructor(limits: RobotLimits) {
    this.#limits = limits
    const registers = [this.registry]
    const labelNames = ['robot', 'policy'] as const
    const name = (of: string) => `turbo_pi_robot_${of}`
    this.#answers = new Counter({
      name: name('answers_total'),
      help: 'Action chunks answered, by robot and policy.',
      labelNames,
      registers,
    })
    this.#errors = new Counter({
      name: name('errors_total'),
      help: 'Requests that ended in an error, by robot and policy.',
      labelNames,
      registers,
    })
    this.#skipped = new Counter({
      name: name('skipped_total'),
      help: 'Observations skipped, by robot, policy and reason.',
      labelNames: [...labelNames, 'reason'],
      registers,
    })
    this.#late = new Counter({
      name: name('late_total'),
      help: 'Answers given after their deadline, by robot and policy.',
      labelNames,
      registers,
    })
    this.#findings = new Counter({
      name: name('guard_findings_total'),
      help: 'What guards found in the answers of a robot, by robot and policy.',
      labelNames,
      registers,
    })
    this.#connections = new Gauge({
      name: name('connections'),
      help: 'Open WebSocket connections, by robot and policy.',
      labelNames,
      registers,
    })
    this.#age = new Gauge({
      name: name('observation_age_seconds'),
      help: 'Age of the last answered observation when its answer left, by robot and policy.',
      labelNames,
      registers,
    })
    this.#ages = new Histogram({
      name: 'turbo_pi_observation_age_seconds',
      help: "Ages of robots' observations when their answers left, by policy; of robots that have named themselves.",
      labelNames: ['policy'],
      buckets: AGES,
      registers,
    })
  }

  /**
   * The robot that a request names by `?robot=…` or the header X-Robot, which browsers cannot send with a WebSocket.
   * Throws ROBOT_INVALID and TOO_MANY_ROBOTS.
   */
  of({ headers, query }: NamedRequest): Robot | undefined {
    const name = (query as { robot?: unknown }).robot ?? headers['x-robot']
    return name === undefined ? undefined : this.named(name)
  }

  /** Throws ROBOT_INVALID for what is no name, and TOO_MANY_ROBOTS. */
  named(name: unknown): Robot {
    const valid = this.checked(name)
    const known = this.#known.get(valid) ?? this.#add(valid)
    known.seenAt = performance.now()
    return known
  }

  /** All that are remembered. */
  known(): Iterable<Readonly<Pick<Known, 'name' | 'connections' | 'figures'>>> {
    return this.#known.values()
  }

  /** Throws ROBOT_INVALID for what is no name. */
  checked(name: unknown): string {
    if (typeof name !== 'string' || !NAME.test(name))
      throw new TurboPiError(
        'ROBOT_INVALID',
        `A robot's name has 1 to 64 letters, digits, dots, underscores and hyphens, the first a letter or digit; got ${JSON.stringify(typeof name === 'string' ? shown(name) : name)}.`,
      )
    return name
  }

  /** Throws TOO_MANY_CONNECTIONS. */
  admit({ name }: Robot): void {
    const connections = this.#known.get(name)?.connections ?? 0
    if (connections < this.#limits.maxConnections) return
    throw new TurboPiError(
      'TOO_MANY_CONNECTIONS',
      `The robot ${name} has ${connections} connections already (--robot-connections).`,
    )
  }

  /** Counts a connection of a robot to a policy; returns what to call when it ends. Throws TOO_MANY_CONNECTIONS. */
  connected({ name }: Robot, policy: string): () => void {
    const robot = this.#known.get(name) ?? this.#add(name)
    this.admit(robot)
    robot.connections += 1
    this.#connections.inc(this.#labels(name, policy))
    return () => {
      robot.seenAt = performance.now()
      robot.connections -= 1
      this.#connections.dec(this.#labels(name, policy))
    }
  }

  #add(name: string): Known {
    const { maxRobots } = this.#limits
    if (this.#known.size >= maxRobots) this.#forget()
    if (this.#known.size >= maxRobots)
      throw new TurboPiError(
        'TOO_MANY_ROBOTS',
        `This server knows ${maxRobots} robots already (--max-robots); ${name} would be one more.`,
      )
    const figures = new RobotFigures()
    const robot: Known = {
      name,
      figures,
      connections: 0,
      seenAt: performance.now(),
      answered: (policy, ageMs, answer) => {
        const labels = this.#labels(name, policy)
        this.#answers.inc(labels)
        if (answer.late) this.#late.inc(labels)
        if (answer.guard.findings.length > 0) this.#findings.inc(labels, answer.guard.findings.length)
        this.#age.set(labels, ageMs / 1000)
        this.#ages.observe({ policy }, ageMs / 1000)
        figures.answered(policy, ageMs, answer)
      },
      skipped: (policy, reason) => {
        this.#skipped.inc({ ...this.#labels(name, policy), reason })
        figures.skipped(policy, reason)
      },
      failed: (policy, code) => {
        this.#errors.inc(this.#labels(name, policy))
        figures.failed(policy, code)
      },
    }
    this.#known.set(name, robot)
    return robot
  }

  #forget(): void {
    const before = performance.now() - REMEMBERED_MS
    for (const [name, { connections, seenAt }] of this.#known) {
      if (connections > 0 || seenAt > before) continue
      this.#known.delete(name)
      for (const policy of this.#policies) {
        const labels = { robot: name, policy }
        for (const metric of [
          this.#answers,
          this.#errors,
          this.#late,
          this.#findings,
          this.#connections,
          this.#age,
        ])
          metric.remove(labels)
        for (const reason of ['superseded', 'expired', 'reset']) this.#skipped.remove({ ...labels, reason })
      }
    }
  }

  #labels(robot: string, policy: string) {
    this.#policies.add(policy)
    return { robot, policy }
  }
}
