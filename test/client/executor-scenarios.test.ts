import { readFileSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { ExecutorOptions, Tick } from '../../src/client/index.js'
import { ChunkStage } from '../support/chunk-stage.js'

type Json = Record<string, unknown>

const { scenarios } = JSON.parse(
  readFileSync(new URL('./executor-scenarios.json', import.meta.url), 'utf8'),
) as { scenarios: { name: string; options: Json; steps: Json[] }[] }

const camel = (name: string) => name.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase())
const camelKeys = (json: Json): Json =>
  Object.fromEntries(Object.entries(json).map(([key, value]) => [camel(key), value]))

/** Options of the file as those of the executor: `trained_delay` stands beside what is asked of the server. */
function optionsOf({ rtc, ...options }: Json): Partial<ExecutorOptions> {
  const { trained_delay: trainedDelay, ...asked } = (rtc ?? {}) as Json
  return {
    ...camelKeys(options),
    ...(rtc !== undefined && { rtc: camelKeys(asked) }),
    ...(trainedDelay !== undefined && { trainedDelay }),
  } as Partial<ExecutorOptions>
}

class Scenario {
  readonly stage: ChunkStage
  readonly #events: Json[] = []

  constructor(options: Json) {
    this.stage = new ChunkStage(optionsOf(options))
    const { executor } = this.stage
    executor.on('starved', ({ tick }) => this.#events.push({ event: 'starved', tick }))
    executor.on('stale', ({ tick }) => this.#events.push({ event: 'stale', tick }))
    executor.on('failed', ({ error }) => this.#events.push({ event: 'failed', message: error.message }))
    executor.on('merged', ({ tick, delayTicks }) =>
      this.#events.push({ event: 'merged', tick, delay_ticks: delayTicks }),
    )
  }

  async take(t: Test, { from, ...step }: Json, says: string): Promise<void> {
    const { stage } = this
    const [[verb, value] = ['', undefined]] = Object.entries(step)
    const { call, ...rest } = Object(value) as { call: number } & Json
    const verbs: Record<string, () => unknown> = {
      play: () => {
        const ticks: Tick[] = (value as unknown[]).map(() => stage.tick())
        t.same(
          ticks.map(({ action }) => action?.[0] ?? null),
          value,
          says,
        )
        if (from)
          t.same(
            ticks.map(({ from }) => from),
            from,
            says,
          )
      },
      wait: () => {
        stage.now += value as number
      },
      answer: () => stage.asked[call]!.answer(rest['base'] as number, rest),
      fail: () => stage.asked[call]!.fail(rest['message'] as string),
      reset: () => stage.executor.reset(),
      session: () => {
        stage.session = value as string
      },
      generation: () => {
        stage.generation = value as number
      },
      asked: () => t.equal(stage.asked.length, value, says),
      observation: () => t.same(stage.asked[call]!.observation, rest, says),
      delay_ticks: () => t.equal(stage.executor.delayTicks, value, says),
      rtc: () => {
        const { rtc } = stage.asked[call]!.options
        if (rest['is'] === null) t.equal(rtc, undefined, says)
        else t.match(rtc, camelKeys(rest['is'] as Json), says)
      },
      events: () => {
        t.equal(this.#events.length, (value as Json[]).length, `${says}: ${JSON.stringify(this.#events)}`)
        t.match(this.#events.splice(0), value, says)
      },
    }
    if (!verbs[verb]) throw new Error(`${says}: there is no such step`)
    await verbs[verb]()
    await turn()
  }
}

for (const { name, options, steps } of scenarios)
  t.test(name, async t => {
    const scenario = new Scenario(options)
    for (const [number, step] of steps.entries())
      await scenario.take(t, step, `step ${number + 1}, ${JSON.stringify(step)}`)
  })
