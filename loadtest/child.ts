import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Engine } from './engines.js'
import type { Target } from './load-socket.js'

/** As `npm start` sets it. */
const env = {
  ...process.env,
  MALLOC_MMAP_THRESHOLD_: '4194304',
  MALLOC_TRIM_THRESHOLD_: '16777216',
}

const start = (file: string, args: readonly string[], nodeArgs: readonly string[] = []) =>
  fork(fileURLToPath(new URL(file, import.meta.url)), args, { env, execArgv: ['--import=tsx', ...nodeArgs] })

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

  /** `turbo-pi serve` with these arguments, as built; resolves when it is ready. */
  static async serving(args: readonly string[], nodeArgs: readonly string[]): Promise<ServerProcess> {
    const cli = fileURLToPath(new URL('../dist/cli.js', import.meta.url))
    const child = spawn(
      process.execPath,
      ['--v8-pool-size=1', ...nodeArgs, cli, 'serve', '--port', '0', ...args],
      { env, stdio: ['ignore', 'pipe', 'pipe'] },
    )
    const log: string[] = []
    let url: string | undefined
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on('line', line => {
        log.push(line)
        url ??= /https?:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0]
      })
    for (;;) {
      if (child.exitCode !== null) throw new Error(`turbo-pi serve ended: ${log.slice(-5).join('\n')}`)
      if (url && (await isReady(url))) return new ServerProcess(child, url)
      await sleep(100)
    }
  }

  /** Processor time used so far, in milliseconds. */
  async cpuMs(): Promise<number> {
    if (!this.child.connected) return processorMs(this.child.pid!)
    this.child.send('cpu')
    const [milliseconds] = await once(this.child, 'message')
    return Number(milliseconds)
  }

  stop(): void {
    if (this.child.connected) this.child.disconnect()
    else this.child.kill('SIGTERM')
  }
}

const isReady = (url: string) =>
  fetch(`${url}/readyz`).then(
    ({ status }) => status === 200,
    () => false,
  )

/** What Linux tells of another process, in ticks of 10 ms. */
function processorMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return 10 * (Number(fields[11]) + Number(fields[12]))
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
