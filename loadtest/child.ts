import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Engine } from './engines.js'
import type { Target } from './load-socket.js'

const start = (file: string, args: readonly string[], nodeArgs: readonly string[] = []) =>
  fork(fileURLToPath(new URL(file, import.meta.url)), args, { execArgv: ['--import=tsx', ...nodeArgs] })

/** What a child says first. */
async function greeting(child: ChildProcess): Promise<unknown> {
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`${child.spawnargs.at(-1)} ended with ${code}`)
  })
  return (await Promise.race([once(child, 'message'), ended]))[0]
}

/** A server in a process of its own. */
export class ServerProcess {
  private constructor(
    private readonly child: ChildProcess,
    readonly url: string,
  ) {}

  /** A server of ours over an engine, with the options of node that `npm start` gives; `record`: where it records. */
  static async start(engine: Engine, nodeArgs: readonly string[], record?: string): Promise<ServerProcess> {
    const args = [JSON.stringify(engine), ...(record === undefined ? [] : [record])]
    const child = start('server.ts', args, ['--v8-pool-size=1', ...nodeArgs])
    return new ServerProcess(child, String(await greeting(child)))
  }

  /** The WebSocket library alone. */
  static async bare(nodeArgs: readonly string[]): Promise<ServerProcess> {
    const child = start('bare.ts', [], nodeArgs)
    return new ServerProcess(child, String(await greeting(child)))
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

/** Asks /healthz all the while; `stop` gives the 99th percentile in milliseconds. */
export async function watchHealth({ url }: Target): Promise<{ stop(): Promise<number> }> {
  const child = start('health.ts', [url])
  await greeting(child)
  return {
    stop: async () => {
      child.send('stop')
      return Number(await greeting(child))
    },
  }
}
