import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { repositoryPath } from './served-policy.js'

export interface ServeProcess {
  child: ChildProcess
  url: string
  /** Lines of its log so far. */
  log: string[]
  /** Exit code and signal, once all of its log has been read. */
  exited: Promise<[code: number | null, signal: NodeJS.Signals | null]>
}

/** `turbo-pi serve` in a process of its own, once it listens. Rejects with its log when it ends before. */
export async function serveProcess(
  flags: readonly string[] = [],
  { env = {}, node = [] }: { env?: NodeJS.ProcessEnv; node?: readonly string[] } = {},
): Promise<ServeProcess> {
  const child = spawn(
    process.execPath,
    ['--import=tsx', ...node, repositoryPath('src/cli.ts'), 'serve', '--port', '0', ...flags],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NODE_OPTIONS: '', ...env } },
  )
  const exited = once(child, 'close') as ServeProcess['exited']
  const log: string[] = []
  const url = await new Promise<string>((resolve, reject) => {
    for (const stream of [child.stdout!, child.stderr!])
      createInterface({ input: stream }).on('line', line => {
        log.push(line)
        const found = /https?:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0]
        if (found) resolve(found)
      })
    void exited.then(() => reject(new Error(`turbo-pi serve ended without listening: ${log.join('\n')}`)))
  })
  return { child, url, log, exited }
}

/** Waits until /readyz is `status`; fails after so many milliseconds. */
export async function readiness(url: string, status: number, ms = 120_000): Promise<Response> {
  for (const end = Date.now() + ms; Date.now() < end; ) {
    const response = await fetch(`${url}/readyz`).catch(() => undefined)
    if (response?.status === status) return response
    await new Promise(resolve => setTimeout(resolve, 25))
  }
  throw new Error(`/readyz did not turn ${status} in ${ms} ms`)
}
