import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { repositoryPath } from './served-policy.js'

export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

const cli = ['--import=tsx', repositoryPath('src/cli.ts')]

/** The command line in a process of its own, from source; nobody's settings but those given. */
export function startCli(argv: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [...cli, ...argv], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...withoutSettings(), NODE_OPTIONS: '', ...env },
  })
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => {
      said[name] += text
    })
  const ended: Promise<Ended> = once(child, 'close').then(([code, signal]) => ({ code, signal, ...said }))
  return { child, said, ended }
}

export const runCli = (argv: readonly string[], env?: NodeJS.ProcessEnv): Promise<Ended> =>
  startCli(argv, env).ended

/**
 * The same on a terminal of its own, by script(1). What is typed goes to `stdin`. The shell of script(1) gives way to the command:
 * one that stays ends with 130 at Ctrl-C, whatever the command answers.
 */
export function onTerminal(argv: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const command = [process.execPath, ...cli, ...argv]
    .map(word => `'${word.replaceAll("'", "'\\''")}'`)
    .join(' ')
  const child = spawn('script', ['-qefc', `exec ${command}`, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...withoutSettings(), NODE_OPTIONS: '', TERM: 'xterm', ...env },
  })
  const screen = { text: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    screen.text += text
  })
  return { child, screen, exited: once(child, 'close').then(([code]) => code as number | null) }
}

/** Waits for what a process of its own does; fails after so many milliseconds. */
export async function until(holds: () => boolean, what: string, ms: number): Promise<void> {
  for (const end = Date.now() + ms; !holds(); await sleep(20))
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`)
}

const withoutSettings = () =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TURBO_PI_')))
