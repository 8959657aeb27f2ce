import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { machineLine } from '../../src/commands/kit/machine.js'
import { markdownTable } from '../../src/commands/kit/table.js'
import { Load } from '../faults/load.js'
import { jsonObservation } from '../faults/observation.js'
import { FaultServer, folder } from '../faults/server.js'
import { repositoryPath } from '../support/served-policy.js'
import { Readiness } from './readiness.js'

const HELP = `npm run test:cards -- [options]: destroys the context of one of a server's GPUs under load

Needs the addon and its kernels. Prints what became of the requests and what /readyz said. Of several cards, no accepted request may be
lost or refused, and the server says that one of them does not work; of one, whoever asks is told the reason.

  --devices A,B   cards that serve                                             [0,1]
  --break N       the card that fails                                          [the last of them]
  --serve=ARGS    of turbo-pi serve                 [--runtime cuda --random-weights pi05]
  --robots N      at 5 Hz each                                                 [32]
  --seconds N     before and after                                             [5]`

const { values } = parseArgs({
  options: {
    devices: { type: 'string', default: '0,1' },
    break: { type: 'string' },
    serve: { type: 'string', default: '--runtime cuda --random-weights pi05' },
    robots: { type: 'string', default: '32' },
    seconds: { type: 'string', default: '5' },
    help: { type: 'boolean', default: false },
  },
})

/** Loading a network of full size. */
const START_MS = 550_000

async function main(): Promise<number> {
  const cards = values.devices.split(',')
  const broken = values.break ?? cards.at(-1)!
  const order = join(folder(), 'break')
  const server = FaultServer.launch({
    served: [...values.serve.split(' '), '--devices', values.devices],
    node: [`--require=${repositoryPath('test/support/breakable-card.cjs')}`],
    env: { BREAK_CARD: order },
  })
  await server.ready(START_MS)
  const seen = new Readiness(server.url, text => console.log(`/readyz ${text}`))
  const load = new Load(server.url, { robots: Number(values.robots) })
  const seconds = Number(values.seconds)
  await sleep(1000 * seconds)
  const before = { ...load.tally }
  const brokenAt = performance.now()
  writeFileSync(`${order}.new`, broken)
  renameSync(`${order}.new`, order)
  const recoveryMs = cards.length > 1 ? await load.recovery(brokenAt) : undefined
  await sleep(1000 * seconds)
  const reason = await answered(server.url)
  const tally = await load.end()
  await seen.stop()
  const end = await server.stop()

  console.log(`\n${machineLine()}; ${values.serve} --devices ${values.devices}, card ${broken} broken`)
  const counts = ['accepted', 'answered', 'skipped', 'refused', 'lost'] as const
  console.log(
    markdownTable(
      ['', ...counts],
      [
        ['before', ...counts.map(name => String(before[name]))],
        ['in all', ...counts.map(name => String(tally[name]))],
      ],
    ),
  )
  if (recoveryMs !== undefined) console.log(`next actions after ${recoveryMs.toFixed(0)} ms`)
  console.log(`a caller afterwards: ${reason}`)
  console.log(`the server ended with ${end}; its last words:\n${server.log.slice(-8).join('\n')}`)
  const reads = seen.said.map(({ text }) => text)
  const told =
    cards.length > 1
      ? tally.refused === 0 && reads.includes(`200: ${cards.length - 1} of ${cards.length} cards`)
      : tally.refused > 0 && reads.some(text => text.startsWith('503'))
  const ok = server.logged('was broken') && tally.lost === 0 && told
  console.log(ok ? 'ok: as promised' : 'FAIL: not as promised')
  return ok ? 0 : 1
}

/** What a request comes to: "answered", or the code and the reason. */
async function answered(url: string): Promise<string> {
  try {
    return await asked(url)
  } catch (error) {
    return `no answer: ${(error as Error).message}`
  }
}

async function asked(url: string): Promise<string> {
  const response = await fetch(`${url}/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...jsonObservation, options: { seed: 0, num_steps: 1 } }),
  })
  const { code, detail } = (await response.json()) as { code?: string; detail?: string }
  return response.ok ? 'answered' : `${response.status} ${code}: ${detail}`
}

if (values.help) console.log(HELP)
else process.exit(await main())
