import type { GuardFinding } from '../contract/guard.js'
import { described } from '../policy/guard/refusal.js'
import { type Call, command as define } from './kit/command.js'
import { CALLER_SETTINGS, callServer, SERVER_OPTIONS } from './kit/server-call.js'

export const command = define(
  {
    name: 'clear',
    forms: ['[ROBOT] [--url URL]'],
    about: `
Lets a robot go on that a guard of a running server has stopped (serve --guard hold), once somebody has looked at it. Without
a name: lists the robots that are held, and why. Give the key in TURBO_PI_API_KEY.`,
    positionals: { least: 0, most: 1, what: 'one name' },
    options: SERVER_OPTIONS,
    settings: CALLER_SETTINGS,
  },
  clear,
)

interface Hold {
  robot: string
  since: number
  finding: GuardFinding
}

async function clear({ own: { url }, config, positionals }: Call<typeof SERVER_OPTIONS>): Promise<number> {
  const [robot] = positionals
  if (robot === undefined) {
    const held = await callServer<Hold[]>(url, '/robots/held', config.apiKey)
    if (!held) return 1
    for (const { robot, since, finding } of held)
      console.log(`${robot}, held since ${new Date(since).toISOString()}: ${described(finding)}`)
    if (held.length === 0) console.log('No robot is held.')
    return 0
  }
  const path = `/robots/${encodeURIComponent(robot)}/clear`
  const answer = await callServer<{ was: Hold | null }>(url, path, config.apiKey, { method: 'POST' })
  if (!answer) return 1
  console.log(wasHeld(robot, answer.was))
  return 0
}

const wasHeld = (robot: string, was: Hold | null) =>
  was ? `${robot} goes on; it was held because ${described(was.finding)}.` : `${robot} was not held.`
