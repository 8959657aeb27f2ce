import { flag } from '../settings/kinds.js'
import { type Call, command as define } from './kit/command.js'
import { CALLER_SETTINGS, callServer, SERVER_OPTIONS } from './kit/server-call.js'

const OPTIONS = {
  ...SERVER_OPTIONS,
  anyShape: flag({
    meaning: 'take a policy of other observations or actions, too: robots must know of it',
  }),
}

export const command = define(
  {
    name: 'swap',
    forms: ['NAME DIRECTORY [--url URL] [--any-shape]'],
    about: `
Tells a running server (serve --allow-swap) to serve the policy of DIRECTORY in the place of the one served under NAME;
GET /policies lists the names. The directory is one of the server's machine. Give the key in TURBO_PI_API_KEY.`,
    positionals: { least: 2, most: 2, what: 'a name and a directory', offers: 'directories' },
    options: OPTIONS,
    settings: CALLER_SETTINGS,
  },
  swap,
)

/** Resolves when the old policy has answered what it had accepted. */
async function swap({ own, config, positionals }: Call<typeof OPTIONS>): Promise<number> {
  const [name, directory] = positionals
  const answer = await callServer<{ policy: string; model: string }>(
    own.url,
    `/policies/${encodeURIComponent(name!)}/swap`,
    config.apiKey,
    { method: 'POST', body: { directory, ...(own.anyShape && { any_shape: true }) } },
  )
  if (!answer) return 1
  console.log(`${name}: ${answer.policy} serves now, model ${answer.model}`)
  return 0
}
