import t from 'tap'
import { RobotWatch } from '../../src/policy/guard/robot-watch.js'
import type { GuardMode } from '../../src/policy/guard/settings.js'
import { StateWatch } from '../../src/policy/guard/state-watch.js'
import { startBrowser, withoutBrowser } from '../support/browser.js'
import { startServer, stopServers } from '../support/server.js'

const skip = withoutBrowser
t.teardown(stopServers)

t.test('what guards found is told, and a robot that is held is cleared by hand', { skip }, async t => {
  const visit = await startBrowser(t)
  const bounds = { from: 'percentiles', low: Float64Array.of(0, 0), high: Float64Array.of(9, 9) } as const
  const guarded = (mode: GuardMode) =>
    startServer({
      runtime: { milliseconds: 1 },
      config: { watchSessions: true },
      policy: {
        watch: () =>
          new RobotWatch(mode, ({ state }) => state['observation/state']!, {
            states: new StateWatch(bounds, ['lift (m)', 'grip']),
          }),
      },
    })
  const infer = (url: string, lift: number) => {
    const image = { data: Buffer.alloc(48, 200).toString('base64'), encoding: 'rgb8', width: 4, height: 4 }
    return fetch(`${url}/infer?robot=arm-1`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ 'observation/image': image, 'observation/state': [lift, 0] }),
    })
  }
  const reporting = await guarded('report')
  await visit(t, reporting.url, {}, async page => {
    await page.goto(reporting.url)
    t.equal((await infer(reporting.url, 1e6)).status, 200)
    await page.locator('.session .findings').getByText('state bounds: lift (m) is 1000000, limit 9').waitFor()
  })
  const holding = await guarded('hold')
  await visit(t, holding.url, {}, async page => {
    await page.goto(holding.url)
    t.equal((await infer(holding.url, 1e6)).status, 409)
    await page.getByText(/arm-1 is held for .*lift \(m\)/).waitFor()
    await page.getByRole('button', { name: 'Clear arm-1' }).click()
    await page.getByText('arm-1 is held').waitFor({ state: 'detached' })
    t.equal((await infer(holding.url, 1)).status, 200)
  })
})
