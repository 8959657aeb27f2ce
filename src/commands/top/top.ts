import { setTimeout as sleep } from 'node:timers/promises'
import { reasonOf, TurboPiError } from '../../errors.js'
import { usage } from '../../settings/arguments.js'
import { integer } from '../../settings/kinds.js'
import { type Call, command as define } from '../kit/command.js'
import { interruptible } from '../kit/interruption.js'
import { CALLER_SETTINGS } from '../kit/server-call.js'
import { Scrape } from './samples.js'
import { Screen } from './screen.js'
import { type About, view } from './view.js'

const OPTIONS = {
  interval: integer({ default: 1000, min: 100, max: 3_600_000, unit: 'ms', meaning: 'between two looks' }),
}

/** Lines of the screen that are not robots. */
const OTHER_LINES = 14

export const command = define(
  {
    name: 'top',
    forms: ['URL [options]'],
    about: `
Shows what a running server is at, again each second: answers, ages, late ones, guard findings, errors, queue and engine, and each
robot that has named itself. q ends it. Where the output is no terminal it looks twice and prints that once.

It reads /metrics, /readyz and /metadata. Give the key in TURBO_PI_API_KEY.`,
    positionals: { least: 1, most: 1, what: 'one URL' },
    options: OPTIONS,
    settings: CALLER_SETTINGS,
  },
  top,
)

async function top({ own, config, positionals }: Call<typeof OPTIONS>): Promise<number> {
  const url = positionals[0]!
  if (!/^https?:/.test(url) || !URL.canParse(url))
    throw usage('top', `top takes an address such as http://127.0.0.1:8000, got ${url}.`)
  const look = () => lookAt(url.replace(/\/$/, ''), config.apiKey)
  return interruptible(async signal => {
    const first = await look()
    if (!process.stdout.isTTY) {
      await sleep(own.interval, undefined, { signal })
      const second = await look()
      console.log(view(second.about, second.scrape, first.scrape))
      return 0
    }
    const screen = new Screen()
    try {
      let [before, now]: [Scrape | undefined, Look] = [undefined, first]
      while (!screen.ended) {
        screen.show(view(now.about, now.scrape, before, screen.lines - OTHER_LINES))
        await screen.wait(own.interval, signal)
        if (screen.ended) break
        try {
          const next = await look()
          before = now.scrape
          now = next
        } catch (error) {
          now = { ...now, about: { ...now.about, unready: reasonOf(error) } }
        }
      }
      return 0
    } finally {
      screen.close()
    }
  })
}

interface Look {
  about: About
  scrape: Scrape
}

/** Throws SERVER_UNREACHABLE, also where the server refuses. */
async function lookAt(url: string, apiKey: string | undefined): Promise<Look> {
  const headers = apiKey === undefined ? {} : { authorization: `Api-Key ${apiKey}` }
  const get = async (path: string) => {
    try {
      return await fetch(`${url}${path}`, { headers, signal: AbortSignal.timeout(10_000) })
    } catch (error) {
      const reason = reasonOf((error as Error).cause ?? error)
      throw new TurboPiError('SERVER_UNREACHABLE', `No server answers at ${url}: ${reason}.`, {
        cause: error,
      })
    }
  }
  const [metrics, ready, metadata] = await Promise.all(['/metrics', '/readyz', '/metadata'].map(get))
  for (const { ok, status } of [metrics!, metadata!])
    if (!ok)
      throw new TurboPiError(
        'SERVER_UNREACHABLE',
        `${url} answers with ${status}${status === 401 ? ': give the key in TURBO_PI_API_KEY' : ', as no Turbo-Pi does'}.`,
      )
  const { policy, model, runtime } = (await metadata!.json()) as {
    policy: string
    model: string | null
    runtime: { backend: string; precision: string } | null
  }
  const { detail, cards } = (await ready!.json()) as { detail?: string; cards?: string }
  return {
    about: {
      url,
      cards,
      unready: ready!.ok ? undefined : (detail ?? String(ready!.status)),
      policy,
      backend: runtime ? `${runtime.backend} ${runtime.precision}` : undefined,
      model: model ?? undefined,
    },
    scrape: new Scrape(await metrics!.text(), performance.now()),
  }
}
