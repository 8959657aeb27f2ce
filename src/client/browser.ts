/** `turbo-pi/client/browser`: the same client over a browser's WebSocket, with text frames. */
import { type ClientOptions, PolicyClient } from './client.js'
import { browserTransport } from './transport/browser.js'
import { jsonCodec } from './transport/json.js'

export type { ActionChunk } from './chunk.js'
export type { ClientEvents, ClientOptions, PolicyMetadata } from './client.js'
export * from './errors.js'
export { type ClientObservation, type ObserveOptions, rgbImage } from './observation.js'

/** A client for browsers. */
export class BrowserClient extends PolicyClient {
  /** Connects in the background: calls wait for the server, events tell of it. */
  static start(url: string, options: ClientOptions = {}): BrowserClient {
    const client = new BrowserClient(url, { transport: browserTransport, codec: jsonCodec }, options)
    client.start()
    return client
  }

  /** As TurboPiClient.connect does it; a wrong key cannot be told from a server that is not up. */
  static async connect(url: string, options: ClientOptions = {}): Promise<BrowserClient> {
    const client = new BrowserClient(url, { transport: browserTransport, codec: jsonCodec }, options)
    await client.open(options)
    return client
  }
}
