import { loadConfig } from '../config.js'
import { TurboPiError } from '../errors.js'
import { flag, takeOptions, text } from './kit/options.js'

export const help = `turbo-pi swap NAME DIRECTORY [--url URL] [--any-shape]

Tells a running server (serve --allow-swap) to serve the policy of DIRECTORY in the place of the one served under NAME;
GET /policies lists the names. The directory is one of the server's machine. The key is taken from TURBO_PI_API_KEY.

  --url URL     the server [http://127.0.0.1:8000]
  --any-shape   take a policy of other observations or actions, too: robots must know of it`

const OPTIONS = {
  url: text('http://127.0.0.1:8000'),
  'any-shape': flag(),
}

/** Resolves when the old policy has answered what it had accepted. */
export async function run(argv: string[]): Promise<number> {
  const { own, rest } = takeOptions(argv, OPTIONS)
  const [name, directory, ...more] = rest
  if (name === undefined || directory === undefined || more.length > 0)
    throw new TurboPiError(
      'CONFIG_INVALID',
      `swap takes a name and a directory, got ${rest.length}.\n\n${help}`,
    )
  const { apiKey } = loadConfig([])
  const response = await fetch(new URL(`/policies/${encodeURIComponent(name)}/swap`, own.url), {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(apiKey && { authorization: `Api-Key ${apiKey}` }) },
    body: JSON.stringify({ directory, ...(own['any-shape'] && { any_shape: true }) }),
  })
  const answer = (await response.json()) as Record<string, unknown>
  if (!response.ok) {
    console.error(`turbo-pi: ${answer['title']} (${answer['code']}).\n${answer['detail']}`)
    return 1
  }
  console.log(`${name}: ${answer['policy']} serves now, model ${answer['model']}`)
  return 0
}
