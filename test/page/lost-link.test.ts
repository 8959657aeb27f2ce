import t from 'tap'
import { startBrowser, withoutBrowser } from '../support/browser.js'
import { freePort } from '../support/free-port.js'
import { servePolicy } from '../support/served-policy.js'

const skip = withoutBrowser

t.test('a policy that does not know the table, and a server that goes away', { skip }, async t => {
  const visit = await startBrowser(t)
  const tiny = await servePolicy()
  t.teardown(() => tiny.close())
  const port = await freePort()
  const url = await tiny.app.listen({ port, host: '127.0.0.1' })
  await visit(t, url, { expected: /./ }, async page => {
    await page.goto(url)
    await page.getByText('“tiny-libero” was not trained on this table').waitFor()
    const state = page.locator('#server-state')
    const moving = page.getByText(/^[1-9]\d? of 80/)
    const grey = () =>
      page.evaluate(
        `['.figures', '.robot .rows'].map(part => getComputedStyle(document.querySelector(part)).filter !== 'none')`,
      )
    await moving.waitFor()
    await page.locator('#answer-figure').filter({ hasText: /\d/ }).waitFor()
    t.same(await grey(), [false, false])

    await tiny.close()
    await page.getByText('Link lost').waitFor()
    await page.getByText('Nothing is heard from the server since').waitFor()
    await page.locator('.robot.stale').waitFor()
    t.same(await grey(), [true, true], 'figures from before are grey')

    const again = await servePolicy()
    t.teardown(() => again.close())
    await again.app.listen({ port, host: '127.0.0.1' })
    await page.getByText('Connected').waitFor()
    t.equal(await state.getAttribute('data-state'), 'ready')
    t.same(await grey(), [false, false])
    t.equal(await page.locator('#link-notice').isVisible(), false)
    // Paused, so that its first step is there to be seen.
    await page.keyboard.press('p')
    await page.getByRole('button', { name: 'Restart' }).click()
    await page.getByText(/^0 of 80/).waitFor()
    await page.keyboard.press('p')
    await moving.waitFor()
  })
})
