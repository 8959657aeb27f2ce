import { type ClientOptions, PolicyClient } from './client.js'
import { msgpackCodec } from './transport/msgpack.js'
import { nodeTransport } from './transport/node.js'

/** A client for Node.js: `ws`, binary frames. */
export class TurboPiClient extends PolicyClient {
  /**
   * Resolves when the server is ready; waits for one that is not up yet. Rejects with ConnectionError when refused,
   * ModelMismatchError, or DeadlineError after `waitMs`.
   */
  static async connect(url: string, options: ClientOptions = {}): Promise<TurboPiClient> {
    const client = new TurboPiClient(url, { transport: nodeTransport, codec: msgpackCodec }, options)
    await client.open(options)
    return client
  }
}
