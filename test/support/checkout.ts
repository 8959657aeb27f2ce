import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { root, scratch } from './checkpoint.js'
import { freePort } from './free-port.js'

/** What a copy does without, or shares with this checkout. */
const LEFT_OUT = new Set(['node_modules', 'dist', '.git', '.tap', 'coverage', 'docs/api', 'test/golden'])
const SHARED = ['node_modules', 'test/golden']

/** How long a server may take to be ready on a busy machine. */
const START_MS = 240_000

export interface Outcome {
  code: number | null
  output: string
}

/** A copy of this checkout, in which commands are run as a reader would; its servers listen on a port of their own. */
export class Checkout {
  #server: { child: ChildProcess; output: () => string } | undefined

  private constructor(
    readonly directory: string,
    /** In the place of /tmp. */
    readonly temporary: string,
    private readonly cache: string,
    readonly port: number,
  ) {}

  static async make(t: Pick<Test, 'teardown'>): Promise<Checkout> {
    const directory = scratch(t)
    const left = (path: string) => LEFT_OUT.has(path) || /^native\/build/.test(path)
    cpSync(root, directory, { recursive: true, filter: source => !left(relative(root, source)) })
    for (const folder of SHARED) symlinkSync(join(root, folder), join(directory, folder))
    const checkout = new Checkout(directory, scratch(t), scratch(t), await freePort())
    for (const folder of ['src', 'examples']) checkout.#moveAddresses(join(directory, folder))
    t.teardown(() => checkout.stop())
    return checkout
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** Runs a command to its end. */
  async run(command: string): Promise<Outcome> {
    const { child, output } = this.#spawn(command)
    const [code] = (await once(child, 'close')) as [number | null]
    return { code, output: output() }
  }

  /** Starts a server, in the place of the one before; waits until it is ready, or has ended. */
  async serve(command: string): Promise<Outcome> {
    await this.stop()
    this.#server = this.#spawn(command)
    const { child, output } = this.#server
    for (const end = Date.now() + START_MS; Date.now() < end && child.exitCode === null; await sleep(200)) {
      const ready = await fetch(`${this.url}/readyz`).catch(() => undefined)
      if (ready?.ok) return { code: 0, output: output() }
    }
    return { code: child.exitCode ?? -1, output: output() }
  }

  /** Empties the folder for temporary files. */
  clear(): void {
    for (const entry of readdirSync(this.temporary))
      rmSync(join(this.temporary, entry), { recursive: true, force: true })
  }

  /** Ends the server and whatever it started. */
  async stop(): Promise<void> {
    const child = this.#server?.child
    this.#server = undefined
    if (child?.pid === undefined) return
    const isThere = () => {
      try {
        return process.kill(-child.pid!, 0)
      } catch {
        return false
      }
    }
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      if (!isThere()) return
      process.kill(-child.pid, signal)
      for (let i = 0; i < 100 && isThere(); i++) await sleep(100)
    }
  }

  #spawn(command: string): { child: ChildProcess; output: () => string } {
    let output = ''
    const child = spawn('sh', ['-c', this.#here(command)], {
      cwd: this.directory,
      // A group of its own, so that it can be ended whole.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        TURBO_PI_CACHE: this.cache,
        TURBO_PI_PORT: String(this.port),
        npm_config_update_notifier: 'false',
      },
    })
    for (const stream of [child.stdout!, child.stderr!])
      stream.on('data', (chunk: Buffer) => {
        output += chunk.toString()
      })
    return { child, output: () => output }
  }

  /** With this copy's port and folder for temporary files. */
  #here(command: string): string {
    return command
      .replaceAll(/(:|--port )8000\b/g, `$1${this.port}`)
      .replaceAll(/(^|[ =])\/tmp\//g, `$1${this.temporary}/`)
  }

  /** The default address of examples and commands. */
  #moveAddresses(folder: string): void {
    for (const file of readdirSync(folder, { recursive: true }) as string[]) {
      if (!/\.(?:ts|sh|py)$/.test(file)) continue
      const path = join(folder, file)
      const text = readFileSync(path, 'utf8')
      if (text.includes('127.0.0.1:8000'))
        writeFileSync(path, text.replaceAll('127.0.0.1:8000', `127.0.0.1:${this.port}`))
    }
  }
}
