import { BrowserClient } from '../client/browser.js'

const STORED = 'turbo-pi.key'
const keyOf = () => sessionStorage.getItem(STORED)

/** The API key of this server, for as long as the tab lives. */
export function useKey(key: string): void {
  sessionStorage.setItem(STORED, key)
}

/** GET of a path of this server; undefined when it cannot be reached. */
export const get = (path: string): Promise<Response | undefined> => ask('GET', path)

/** POST without a body. */
export const post = (path: string): Promise<Response | undefined> => ask('POST', path)

async function ask(method: string, path: string): Promise<Response | undefined> {
  const key = keyOf()
  const headers: HeadersInit = key === null ? {} : { authorization: `Api-Key ${key}` }
  try {
    return await fetch(path, { method, headers })
  } catch {
    return undefined
  }
}

/** A robot's connection to this server, reconnected until it is closed. */
export const openStream = (): BrowserClient =>
  BrowserClient.start(new URL('stream', location.href).href, {
    apiKey: keyOf() ?? undefined,
    backoffMs: [300, 5000],
  })
