import sharp from 'sharp'
import t from 'tap'
import { EMBODIMENTS } from '../../src/policy/embodiment.js'
import { startBrowser, withoutBrowser } from '../support/browser.js'
import { serveEmbodiment } from '../support/embodied-server.js'
import { repositoryPath, servePolicy } from '../support/served-policy.js'
import { stopServers } from '../support/server.js'

const skip = withoutBrowser
t.teardown(stopServers)

t.test('an observation is put together and sent by hand', { skip }, async t => {
  const visit = await startBrowser(t)
  const server = await servePolicy(repositoryPath('policies/tiny-libero'), { watchSessions: true })
  t.teardown(() => server.close())
  const url = await server.app.listen({ port: 0, host: '127.0.0.1' })
  const buffer = await sharp({ create: { width: 64, height: 48, channels: 3, background: 'teal' } })
    .png()
    .toBuffer()
  await visit(t, url, { reducedMotion: 'reduce', expected: /422/ }, async page => {
    await page.goto(url)
    await page.getByText('Send an observation by hand').click()
    const file = { name: 'base.png', mimeType: 'image/png', buffer }
    await page.getByLabel('observation/image (grey').setInputFiles(file)
    const form = page.locator('#observation-form')
    t.same(
      await page.locator('#observation-state label').allTextContents(),
      ['x', 'y', 'z', 'roll', 'pitch', 'yaw', 'observation/state[6]', 'observation/state[7]'],
      'numbers of the state have their joints’ names',
    )
    await form.getByLabel('pitch').fill('0.25')
    await form.getByLabel('Prompt').fill('stack the cups')
    await form.getByLabel('Seed').fill('7')
    await form.getByLabel('Robot').fill('by-hand')
    const sent = page.waitForRequest(`${url}/infer?robot=by-hand`)
    await page.keyboard.press('Enter')
    const body = (await sent).postDataJSON()
    t.equal(body['observation/image'], buffer.toString('base64'), 'the file as it is')
    t.match(body['observation/wrist_image'], { encoding: 'rgb8', width: 224, height: 224 })
    t.same(body['observation/state'], [0, 0, 0, 0, 0.25, 0, 0, 0])
    t.match(body, { prompt: 'stack the cups', options: { seed: 7 } })
    await page.getByText(/^\d+ actions in .*, with seed 7\./).waitFor()
    t.equal(await page.locator('#observation-result figure').count(), 7)
    await page.locator('#observation-result figcaption', { hasText: 'gripper' }).waitFor()

    await form.getByLabel('Denoise steps').fill('999')
    await page.keyboard.press('Enter')
    await page.getByText(/\/options\/num_steps/).waitFor()
    t.equal(await page.locator('#observation-result figure').first().isVisible(), false)
  })
})

t.test('all of it works with a key and behind a base path', { skip }, async t => {
  const visit = await startBrowser(t)
  const config = { apiKey: 'secret', basePath: '/cell/arm-1', watchSessions: true }
  const { url } = await serveEmbodiment(EMBODIMENTS.droid, config)
  await visit(t, `${url}/cell/arm-1/`, { expected: /401/ }, async page => {
    await page.goto(`${url}/cell/arm-1/`)
    await page.getByLabel('This server asks for its API key').fill('secret')
    await page.keyboard.press('Enter')
    await page.getByText('Send an observation by hand').click()
    await page.getByLabel('Prompt').fill('open the drawer')
    await page.getByLabel('Robot', { exact: true }).fill('arm-1')
    await page.getByRole('button', { name: 'Send' }).click()
    await page.getByText(/^2 actions in/).waitFor()
    await page.getByRole('row', { name: /arm-1/ }).waitFor()
    await page.getByText('open the drawer').waitFor()
    await page.getByLabel('Show what the network sees').check()
    const sent = page.getByAltText('Camera observation/exterior_image_1_left')
    await sent.scrollIntoViewIfNeeded()
    // Captions tell the size of a picture that has been decoded.
    await page.getByText('sent 224 × 224').first().waitFor()
    await page.getByAltText('What the network sees of observation/exterior_image_1_left').waitFor()
    await page.getByText('base_0_rgb 4 × 4').waitFor()
  })
})
