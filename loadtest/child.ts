import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Engine } from './engines.js'

/** A server of ours in a process of its own. */
export class ServerProcess {
  private constructor(
    private readonly child: ChildProcess,
    readonly url: string,
  ) {}

  static async start(engine: Engine, nodeArgs: readonly string[]): Promise<ServerProcess> {
    const child = fork(fileURLToPath(new URL('server.ts', import.meta.url)), [JSON.stringify(engine)], {
      execArgv: ['--import=tsx', ...nodeArgs],
    })
    const url = await new Promise<string>((resolve, reject) => {
      child.once('message', message => resolve(String(message)))
      child.once('exit', code => reject(new Error(`the server ended with ${code}`)))
    })
    return new ServerProcess(child, url)
  }

  /** Processor time used so far, in milliseconds. */
  async cpuMs(): Promise<number> {
    this.child.send('cpu')
    const [milliseconds] = await once(this.child, 'message')
    return Number(milliseconds)
  }

  stop(): void {
    this.child.disconnect()
  }
}
