import t from 'tap'
import { startBrowser, withoutBrowser } from '../support/browser.js'
import { freePort } from '../support/free-port.js'
import { startServer, stopServers } from '../support/server.js'

const skip = withoutBrowser
t.teardown(stopServers)

const config = { apiKey: 'secret' }
const runtime = { milliseconds: 1 }

t.test(
  'the key form says what is wrong, and comes back when the key is asked for again',
  { skip },
  async t => {
    const visit = await startBrowser(t)
    const port = await freePort()
    const first = await startServer({ config, runtime, port })
    await visit(t, first.url, { expected: /401|ERR_|Failed to fetch/ }, async page => {
      await page.goto(first.url)
      const key = page.getByLabel('This server asks for its API key')
      const refused = page.getByRole('alert')
      const state = page.locator('#server-state')
      await key.fill('wrong')
      await page.keyboard.press('Enter')
      await refused.filter({ hasText: 'The server does not know this key.' }).waitFor()
      t.equal(await key.getAttribute('aria-invalid'), 'true')
      t.equal(await state.textContent(), 'Key needed')

      await first.app.close()
      await key.fill('secret')
      await page.keyboard.press('Enter')
      await refused.filter({ hasText: 'The server cannot be reached.' }).waitFor()
      t.equal(await key.getAttribute('aria-invalid'), 'false', 'the key may be right')

      const second = await startServer({ config, runtime, port })
      await page.keyboard.press('Enter')
      await state.filter({ hasText: 'Connected' }).waitFor()
      t.equal(await key.isVisible(), false)
      const cookies = await page.context().cookies()
      t.match(cookies, [{ name: 'turbo-pi-session', httpOnly: true, sameSite: 'Strict' }])
      t.equal(await key.inputValue(), '', 'the page keeps no key')
      await page.locator('#rate-figure').filter({ hasText: /\d/ }).waitFor()

      // A server that was started anew knows no cookie from before.
      await second.app.close()
      await startServer({ config, runtime, port })
      await state.filter({ hasText: 'Key needed' }).waitFor()
      await key.fill('secret')
      await page.keyboard.press('Enter')
      await state.filter({ hasText: 'Connected' }).waitFor()
    })
  },
)
