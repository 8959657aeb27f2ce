import t from 'tap'
import { startBrowser, withoutBrowser } from '../support/browser.js'
import { startServer, stopServers, TestSocket } from '../support/server.js'

const skip = withoutBrowser
t.teardown(stopServers)

t.test('another policy: its last observations, when they are watched', { skip }, async t => {
  const visit = await startBrowser(t)
  const runtime = { milliseconds: 1 }
  const unwatched = await startServer({ runtime })
  await visit(t, unwatched.url, {}, async page => {
    await page.goto(unwatched.url)
    await page.getByText('--watch-sessions').waitFor()
    t.equal(await page.locator('#toolbar').isVisible(), false)
  })

  const { url } = await startServer({ runtime, config: { watchSessions: true, apiKey: 'secret' } })
  await visit(t, url, { expected: /401/ }, async page => {
    await page.goto(url)
    await page.getByLabel('This server asks for its API key').fill('secret')
    await page.keyboard.press('Enter')
    await page.getByText('No other session').waitFor()
    const headers = { authorization: 'Api-Key secret' }
    const client = new TestSocket(`${url}/stream`, ['turbo-pi.v1+json'], { headers })
    await client.frame()
    const image = { data: Buffer.alloc(48, 200).toString('base64'), encoding: 'rgb8', width: 4, height: 4 }
    const observation = {
      'observation/image': image,
      'observation/state': [1, 2],
      prompt: 'stack the cups',
    }
    client.send({ type: 'observation', seq: 0, observation })
    await page.getByText('stack the cups').waitFor()
    await page.locator('.session img[alt="Camera observation/image"][src^="blob:"]').waitFor()
    const shown = "document.querySelector('.session img')"
    t.equal(await page.evaluate(`${shown}.decode().then(() => ${shown}.naturalWidth)`), 4)
    t.equal(await page.locator('.session .chunk figure').count(), 2, 'one plot a dimension')
    await page.locator('.session figcaption', { hasText: 'lift (m)' }).waitFor()
    client.socket.terminate()
  })
})
