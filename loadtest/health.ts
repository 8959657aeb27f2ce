import { Agent, get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { Tally } from './tally.js'

/**
 * A process of its own, so that it does not wait for the load's event loop: asks /healthz of the URL given every 20 ms until
 * it is told to stop, then tells the 99th percentile in milliseconds.
 */
const url = `${process.argv[2]}/healthz`
const agent = new Agent({ keepAlive: true })
const tally = new Tally()
let going = true

const ask = () =>
  new Promise<void>((resolve, reject) => {
    get(url, { agent }, response => response.resume().once('end', resolve)).once('error', reject)
  })

process.once('message', () => {
  going = false
})
await ask()
process.send?.('ready')
while (going) {
  const asked = performance.now()
  await ask()
  tally.answered(0, performance.now() - asked)
  await sleep(20)
}
process.send?.(tally.percentile(99))
process.disconnect?.()
agent.destroy()
