import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../support/free-port.js'
import { repositoryPath } from '../support/served-policy.js'
import { environment, type Machine } from './machine.js'

const START_MS = 180_000
const STOP_MS = 20_000

/**
 * Starts a server with `command` (npx or npm and its arguments), asks it, ends the process that was started with SIGTERM,
 * as a supervisor does, and waits for the address to be free: nothing may go on serving. Returns the first action.
 */
export async function serveOnce(
  machine: Machine,
  folder: string,
  cache: string,
  command: (port: number) => [cli: string, ...args: string[]],
  whileServing: (address: string) => Promise<void> = async () => {},
): Promise<number[]> {
  const port = await freePort()
  const [cli, ...args] = command(port)
  const server = spawn(machine.node, [cli, ...args], {
    cwd: folder,
    env: { ...environment(machine), TURBO_PI_CACHE: cache },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  for (const stream of [server.stdout, server.stderr])
    stream.setEncoding('utf8').on('data', text => {
      said += text
    })
  const address = `http://127.0.0.1:${port}`
  try {
    await ready(server, address, () => said)
    const action = await infer(address)
    await whileServing(address)
    server.kill('SIGTERM')
    await ended(address)
    return action
  } finally {
    server.kill('SIGKILL')
  }
}

/** `npx turbo-pi serve`, with the npx of a machine. */
export const npxServe =
  ({ npm }: Machine) =>
  (port: number): [string, ...string[]] => [
    join(dirname(npm), 'npx-cli.js'),
    'turbo-pi',
    'serve',
    '--port',
    String(port),
  ]

async function ready(server: ChildProcess, address: string, said: () => string): Promise<void> {
  const deadline = Date.now() + START_MS
  while (Date.now() < deadline && server.exitCode === null) {
    const response = await fetch(`${address}/readyz`).catch(() => undefined)
    if (response?.ok) return
    await sleep(100)
  }
  throw new Error(`the server was not ready:\n${said()}`)
}

/** The observation of the examples, answered: 10 rows of 7, the same for the same seed. */
export async function infer(address: string): Promise<number[]> {
  const file = (name: string) => readFileSync(repositoryPath(`examples/${name}`))
  const response = await fetch(`${address}/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      'observation/image': file('image.jpg').toString('base64'),
      'observation/wrist_image': file('wrist_image.jpg').toString('base64'),
      'observation/state': JSON.parse(file('state.json').toString()),
      prompt: file('prompt.txt').toString().trim(),
      options: { num_steps: 10, seed: 7 },
    }),
  })
  const { actions } = (await response.json()) as { actions?: number[][] }
  if (actions?.length !== 10 || actions.some(row => row.length !== 7 || !row.every(Number.isFinite)))
    throw new Error(`the answer has status ${response.status} and no 10 rows of 7 numbers`)
  return actions[0]!
}

/** Waits until nobody listens any longer. */
async function ended(address: string): Promise<void> {
  const deadline = Date.now() + STOP_MS
  while (Date.now() < deadline) {
    const alive = await fetch(`${address}/healthz`).then(
      () => true,
      () => false,
    )
    if (!alive) return
    await sleep(100)
  }
  throw new Error('the server outlived the process that started it')
}
