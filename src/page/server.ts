const STORED = 'turbo-pi.key'
const keyOf = () => sessionStorage.getItem(STORED)

/** The API key of this server, for as long as the tab lives. */
export function useKey(key: string): void {
  sessionStorage.setItem(STORED, key)
}

/** GET of a path of this server; undefined when it cannot be reached. */
export async function get(path: string): Promise<Response | undefined> {
  const key = keyOf()
  const headers: HeadersInit = key === null ? {} : { authorization: `Api-Key ${key}` }
  try {
    return await fetch(path, { headers })
  } catch {
    return undefined
  }
}

/** A WebSocket to a path of this server. Browsers send no header with it: the key travels as a subprotocol. */
export function openSocket(path: string, protocol: string): WebSocket {
  const url = new URL(path, location.href)
  url.protocol = url.protocol.replace('http', 'ws')
  const key = keyOf()
  return new WebSocket(url, key === null ? [protocol] : [protocol, `turbo-pi.key.${base64url(key)}`])
}

function base64url(text: string): string {
  const binary = String.fromCharCode(...new TextEncoder().encode(text))
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}
