import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { repositoryPath } from '../support/served-policy.js'

/** A policy that every fault serves. */
export const POLICY = repositoryPath('policies/tiny-libero')

export interface ServerOptions {
  /** What is served, and how; default: POLICY. */
  served?: readonly string[]
  flags?: readonly string[]
  env?: NodeJS.ProcessEnv
  node?: readonly string[]
  /** What the shell does before it becomes the server: limits, mounts. */
  before?: string
  /** In a mount namespace of its own, with rights to mount. */
  mounts?: boolean
}

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`

/** `turbo-pi serve`, built, in a process of its own, whose memory is watched. */
export class FaultServer {
  readonly log: string[] = []
  readonly exited: Promise<[code: number | null, signal: NodeJS.Signals | null]>
  url = ''
  /** Resident MiB: when it was ready, and most. */
  memory = { ready: 0, peak: 0 }
  readonly #watch: NodeJS.Timeout

  private constructor(readonly child: ChildProcess) {
    this.exited = once(child, 'exit') as FaultServer['exited']
    for (const stream of [child.stdout!, child.stderr!])
      createInterface({ input: stream }).on('line', line => {
        this.log.push(line)
        this.url ||= /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0] ?? ''
      })
    this.#watch = setInterval(() => {
      this.memory.peak = Math.max(this.memory.peak, this.resident)
    }, 100)
    void this.exited.then(() => clearInterval(this.#watch))
  }

  static launch({
    served = ['--policy', POLICY],
    flags = [],
    env = {},
    node = [],
    before = '',
    mounts = false,
  }: ServerOptions = {}): FaultServer {
    const cli = repositoryPath('dist/cli.js')
    const command = [
      process.execPath,
      '--v8-pool-size=1',
      ...node,
      cli,
      'serve',
      ...served,
      '--port',
      '0',
      ...flags,
    ]
    const script = `${before && `${before} && `}exec ${command.map(quoted).join(' ')}`
    const [program = '', ...parameters] = [...(mounts ? ['unshare', '-rm'] : []), 'sh', '-c', script]
    const child = spawn(program, parameters, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_OPTIONS: '', ...env },
    })
    return new FaultServer(child)
  }

  /** One that is ready. Throws its log when it ends before. */
  static async start(options: ServerOptions = {}): Promise<FaultServer> {
    const server = FaultServer.launch(options)
    await server.ready()
    return server
  }

  async ready(ms = 60_000): Promise<void> {
    let gone = false
    void this.exited.then(() => {
      gone = true
    })
    for (const end = Date.now() + ms; Date.now() < end && !gone; await sleep(20)) {
      if (this.url === '' || (await this.status('/readyz')) !== 200) continue
      this.memory = { ready: this.resident, peak: this.resident }
      return
    }
    this.child.kill('SIGKILL')
    throw new Error(`the server did not get ready: ${this.log.slice(-5).join('\n')}`)
  }

  /** 0 when it does not answer. */
  async status(path: string): Promise<number> {
    try {
      const response = await fetch(this.url + path, { signal: AbortSignal.timeout(3000) })
      await response.arrayBuffer()
      return response.status
    } catch {
      return 0
    }
  }

  get resident(): number {
    try {
      const [, kilobytes] =
        /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.child.pid}/status`, 'utf8')) ?? []
      return Math.round(Number(kilobytes ?? 0) / 1024)
    } catch {
      return 0
    }
  }

  logged(text: string): boolean {
    return this.log.some(line => line.includes(text))
  }

  /** Ends it with SIGTERM; its exit code, or the signal that ended it. */
  async stop(): Promise<number | string> {
    this.child.kill('SIGTERM')
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 20_000)
    const [code, signal] = await this.exited
    clearTimeout(timer)
    return code ?? signal ?? 'gone'
  }
}

/** A folder that goes when the process ends. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'turbo-pi-fault-'))
  process.once('exit', () => rmSync(path, { recursive: true, force: true }))
  return path
}
