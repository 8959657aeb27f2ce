import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import type { Call, Outcome } from '../../src/client/core/calls.js'
import { ClientCore, type CoreOptions } from '../../src/client/core/core.js'
import { type Outgoing, readMessage } from '../../src/client/core/messages.js'
import type { ClientError } from '../../src/client/errors.js'
import type { ClientObservation, ObserveOptions } from '../../src/client/observation.js'
import type { MarkKind } from '../../src/contract/report.js'

type Json = Record<string, unknown>
type Step = { at: number } & Record<string, unknown>

const { scenarios } = JSON.parse(readFileSync(new URL('./scenarios.json', import.meta.url), 'utf8')) as {
  scenarios: { name: string; options: Json; steps: Step[] }[]
}

const camel = (name: string) => name.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase())
const camelKeys = (json: Json): Json =>
  Object.fromEntries(Object.entries(json).map(([key, value]) => [camel(key), value]))

/** A core under a clock and a network that the scenario moves. */
class Stage {
  readonly core: ClientCore
  now = 0
  room = true
  connects = 0
  drops = 0
  sent: Outgoing[] = []
  events: Json[] = []
  readonly calls = new Map<string, Call>()
  readonly outcomes = new Map<string, Outcome>()

  constructor(options: Json) {
    this.core = new ClientCore(
      { hearsPings: true, random: () => 0.5, ...camelKeys(options) } as CoreOptions,
      {
        connect: () => {
          this.connects += 1
        },
        drop: () => {
          this.drops += 1
        },
        send: message => this.sent.push(message),
        hasRoom: () => this.room,
        ready: ({ session, instance, metadata }) =>
          this.events.push({ event: 'ready', session, instance, ...metadata }),
        lost: (error, final) => this.events.push({ event: 'lost', code: error.code, final }),
        reconnecting: inMs => this.events.push({ event: 'reconnecting', in_ms: inMs }),
        timed: () => {},
      },
    )
  }

  /** Runs what is due up to a time. */
  advance(to: number): void {
    while (this.core.wakeAt <= to) {
      this.now = Math.max(this.now, this.core.wakeAt)
      this.core.tick(this.now)
    }
    this.now = to
  }

  ask({ id, observation, options }: Json, replaceable: boolean): void {
    const { captured_at: capturedAt = this.now, noise, ...rest } = options as Json
    const given = {
      ...camelKeys(rest),
      ...(noise !== undefined && { noise: Float32Array.from(noise as number[]) }),
    }
    const call = this.core.call(
      {
        observation: observation as ClientObservation,
        options: given as ObserveOptions,
        capturedAt: capturedAt as number,
      },
      replaceable,
      outcome => {
        if (this.outcomes.has(id as string)) throw new Error(`${id} is settled twice`)
        this.outcomes.set(id as string, outcome)
      },
      this.now,
    )
    this.calls.set(id as string, call)
  }

  receive(decoded: unknown): void {
    let message: ReturnType<typeof readMessage>
    try {
      message = readMessage(decoded)
    } catch (error) {
      return this.core.unreadable((error as Error).message, this.now)
    }
    if (message) this.core.message(message, this.now)
    else this.core.heard(this.now)
  }

  /** Takes one step; false when it is none. */
  act(verb: string, value: unknown): boolean {
    const { core, now } = this
    const acts: Record<string, () => void> = {
      start: () => core.start(now),
      opened: () => core.opened(now),
      message: () => this.receive(value),
      unreadable: () => core.unreadable(value as string, now),
      heard: () => core.heard(now),
      closed: () => {
        const { detail, refused = false } = value as { detail: string; refused?: boolean }
        core.disconnected(detail, refused, now)
      },
      room: () => {
        this.room = value as boolean
      },
      call: () => this.ask(value as Json, false),
      push: () => this.ask(value as Json, true),
      abort: () =>
        core.cancel(this.calls.get(value as string)!, Object.assign(new Error(), { code: 'ABORTED' }), now),
      reset: () => core.reset(now),
      executed: () => core.executed(value as { action: number[] }, now),
      mark: () => {
        const { kind, text } = value as { kind: MarkKind; text?: string }
        core.mark(kind, text, now)
      },
      clear: () => core.clearHold(),
      close: () => core.close(now),
    }
    acts[verb]?.()
    return verb in acts
  }

  /** Holds one expectation; false when it is none. */
  expect(t: Test, verb: string, value: unknown, says: string): boolean {
    const expectations: Record<string, () => void> = {
      sent: () => {
        const expected = (value as Json[]).map(message =>
          Object.fromEntries(Object.entries(message).map(([key, part]) => [key, part ?? undefined])),
        )
        t.equal(this.sent.length, expected.length, `${says}: ${JSON.stringify(this.sent)}`)
        t.match(this.sent, expected, says)
        this.sent = []
      },
      events: () => {
        t.equal(this.events.length, (value as Json[]).length, `${says}: ${JSON.stringify(this.events)}`)
        t.match(this.events, value, says)
        this.events = []
      },
      connects: () => {
        t.equal(this.connects, value, says)
        this.connects = 0
      },
      drops: () => {
        t.equal(this.drops, value, says)
        this.drops = 0
      },
      waiting: () =>
        t.same(
          [...this.calls.keys()].filter(id => !this.outcomes.has(id)),
          value,
          says,
        ),
      answered: () => {
        for (const [id, chunk] of Object.entries(value as Record<string, Json>))
          t.match(this.outcomes.get(id), { chunk: camelKeys(chunk) }, `${says}, ${id}`)
      },
      failed: () => {
        for (const [id, code] of Object.entries(value as Record<string, string>)) {
          const outcome = this.outcomes.get(id)
          t.equal(
            outcome && 'error' in outcome && (outcome.error as ClientError).code,
            code,
            `${says}, ${id}`,
          )
        }
      },
      clock: () => t.same(this.core.clock.best, camelKeys(value as Json), says),
    }
    expectations[verb]?.()
    return verb in expectations
  }
}

for (const { name, options, steps } of scenarios) {
  t.test(name, async t => {
    const stage = new Stage(options)
    for (const [number, { at, ...step }] of steps.entries()) {
      stage.advance(at)
      const [[verb, value] = ['', undefined]] = Object.entries(step)
      if (!stage.act(verb, value) && !stage.expect(t, verb, value, `step ${number + 1}, ${verb} at ${at}`))
        throw new Error(`step ${number + 1}: there is no ${JSON.stringify(verb)}`)
    }
  })
}
