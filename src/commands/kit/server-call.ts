import { reasonOf, TurboPiError } from '../../errors.js'
import { ACCESS_SETTINGS } from '../../settings/access.js'
import { CONFIG_FILE } from '../../settings/general.js'
import { text } from '../../settings/kinds.js'

/** Where a running server is. */
export const SERVER_OPTIONS = {
  url: text({ default: 'http://127.0.0.1:8000', takes: 'URL', meaning: 'the server' }),
}

/** What a command needs that calls a running server. */
export const CALLER_SETTINGS = { apiKey: ACCESS_SETTINGS.apiKey, ...CONFIG_FILE }

/**
 * A request to a running server: its JSON, or undefined, with its error on standard error, where it refuses. Throws
 * CONFIG_INVALID for an address that is none, and SERVER_UNREACHABLE.
 */
export async function callServer<T>(
  server: string,
  path: string,
  apiKey: string | undefined,
  { method = 'GET', body }: { method?: 'GET' | 'POST'; body?: object } = {},
): Promise<T | undefined> {
  if (!URL.canParse(path, server))
    throw new TurboPiError(
      'CONFIG_INVALID',
      `--url takes an address such as http://127.0.0.1:8000, got ${server}.`,
    )
  const response = await fetch(new URL(path, server), {
    method,
    headers: {
      ...(body && { 'content-type': 'application/json' }),
      ...(apiKey !== undefined && { authorization: `Api-Key ${apiKey}` }),
    },
    ...(body && { body: JSON.stringify(body) }),
  }).catch(error => {
    throw new TurboPiError(
      'SERVER_UNREACHABLE',
      `No server answers at ${server}: ${reasonOf(error.cause ?? error)}. Start one with turbo-pi serve, or name another one with --url.`,
      { cause: error },
    )
  })
  const answer = (await response.json().catch(() => ({
    title: 'What answers there is no Turbo-Pi',
    code: response.status,
    detail: `${server}${path} answers without JSON.`,
  }))) as Record<string, unknown>
  if (response.ok) return answer as T
  console.error(`turbo-pi: ${answer['title']} (${answer['code']}).\n${answer['detail']}`)
  return undefined
}
