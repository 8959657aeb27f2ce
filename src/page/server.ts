import { BrowserClient } from '../client/browser.js'
import { link } from './link.js'

/** Milliseconds that a reply may take before the server counts as lost. */
const PATIENCE_MS = 15_000

/** GET of a path of this server; undefined when it cannot be reached. */
export const get = (path: string): Promise<Response | undefined> => ask(path)

/** POST, without a body or with a JSON one. */
export const post = (
  path: string,
  body?: unknown,
  patienceMs: number = PATIENCE_MS,
): Promise<Response | undefined> =>
  ask(
    path,
    {
      method: 'POST',
      ...(body !== undefined && {
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      }),
    },
    patienceMs,
  )

async function ask(
  path: string,
  options: RequestInit = {},
  patienceMs: number = PATIENCE_MS,
): Promise<Response | undefined> {
  const signal = AbortSignal.timeout(patienceMs)
  const response = await fetch(path, { ...options, signal }).catch(() => undefined)
  link.replied(response)
  return response
}

/** What a reply that is no success says, in words. */
export async function problemOf(response: Response | undefined): Promise<string> {
  if (!response) return 'The server cannot be reached.'
  try {
    const { title, detail } = (await response.json()) as { title: string; detail: string }
    return `${title}. ${detail}`
  } catch {
    return `The server answered with status ${response.status}.`
  }
}

/** A robot's connection to this server, reconnected until it is closed. */
export const openStream = (): BrowserClient =>
  BrowserClient.start(new URL('stream', location.href).href, {
    backoffMs: [300, 5000],
  })
