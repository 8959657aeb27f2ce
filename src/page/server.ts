import { BrowserClient } from '../client/browser.js'

/** Gives the server its API key, for a cookie that stands for it; false when it is not the right one. */
export async function giveKey(key: string): Promise<boolean> {
  const response = await fetch('page/session', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ key }),
  })
  return response.ok
}

/** GET of a path of this server; undefined when it cannot be reached. */
export const get = (path: string): Promise<Response | undefined> => ask('GET', path)

/** POST without a body. */
export const post = (path: string): Promise<Response | undefined> => ask('POST', path)

async function ask(method: string, path: string): Promise<Response | undefined> {
  try {
    return await fetch(path, { method })
  } catch {
    return undefined
  }
}

/** A robot's connection to this server, reconnected until it is closed. */
export const openStream = (): BrowserClient =>
  BrowserClient.start(new URL('stream', location.href).href, {
    backoffMs: [300, 5000],
  })
