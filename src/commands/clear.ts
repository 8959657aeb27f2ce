import { loadConfig } from '../config.js'
import type { GuardFinding } from '../contract/guard.js'
import { TurboPiError } from '../errors.js'
import { described } from '../policy/guard/refusal.js'
import { takeOptions, text } from './kit/options.js'

export const help = `turbo-pi clear [ROBOT] [--url URL]

Lets a robot go on that a guard of a running server has stopped (serve --guard hold), once somebody has looked at it. Without
a name: lists the robots that are held, and why. The key is taken from TURBO_PI_API_KEY.

  --url URL   the server [http://127.0.0.1:8000]`

const OPTIONS = { url: text('http://127.0.0.1:8000') }

interface Hold {
  robot: string
  since: number
  finding: GuardFinding
}

export async function run(argv: string[]): Promise<number> {
  const { own, rest } = takeOptions(argv, OPTIONS)
  const [robot, ...more] = rest
  if (more.length > 0)
    throw new TurboPiError('CONFIG_INVALID', `clear takes one name, got ${rest.length}.\n\n${help}`)
  const { apiKey } = loadConfig([])
  const path = robot === undefined ? '/robots/held' : `/robots/${encodeURIComponent(robot)}/clear`
  const response = await fetch(new URL(path, own.url), {
    method: robot === undefined ? 'GET' : 'POST',
    headers: { ...(apiKey && { authorization: `Api-Key ${apiKey}` }) },
  })
  const answer = (await response.json()) as unknown
  if (!response.ok) {
    const { title, code, detail } = answer as Record<string, unknown>
    console.error(`turbo-pi: ${title} (${code}).\n${detail}`)
    return 1
  }
  const held = robot === undefined ? (answer as Hold[]) : []
  for (const { robot, since, finding } of held)
    console.log(`${robot}, held since ${new Date(since).toISOString()}: ${described(finding)}`)
  if (robot === undefined && held.length === 0) console.log('No robot is held.')
  if (robot !== undefined) console.log(wasHeld(robot, (answer as { was: Hold | null }).was))
  return 0
}

const wasHeld = (robot: string, was: Hold | null) =>
  was ? `${robot} goes on; it was held because ${described(was.finding)}.` : `${robot} was not held.`
