import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { Episode } from '../../src/tabletop/episode.js'
import { SUITE } from '../../src/tabletop/tasks.js'
import { startBrowser, type Visit, type VisitPage, withoutBrowser } from '../support/browser.js'
import { repositoryPath, servePolicy } from '../support/served-policy.js'

const skip = withoutBrowser

t.test('the tabletop in a browser', { skip }, async t => {
  const visit = await startBrowser(t)
  const tabletop = await servePolicy(repositoryPath('policies/tabletop'))
  t.teardown(tabletop.close)
  const url = await tabletop.app.listen({ port: 0, host: '127.0.0.1' })

  await t.test('the bundled policy solves a task on the page', t =>
    visit(t, url, {}, async page => {
      const first = new Promise<SentObservation>(resolve => observations(page, resolve))
      await page.goto(url)
      await page.getByLabel('Speed').selectOption('0')
      const { observation, options } = await first
      const { image, wristImage, state } = new Episode(1, SUITE[0]!).observe()
      const sent = (key: Camera) => Buffer.from(observation[key].data, 'base64')
      t.ok(sent('observation/image').equals(image), 'the same pixels as in Node')
      t.ok(sent('observation/wrist_image').equals(wristImage))
      t.same(observation['observation/state'], Array.from(state))
      t.equal(options.num_steps, 10)
      await pauseWhenDone(page)
      t.match(await page.locator('#success').textContent(), /^([1-9]\d*) of \1$/)
      t.equal(await page.locator('#server-state').textContent(), 'Connected')
      t.equal(await page.locator('#notice').isVisible(), false)
      t.match(await page.locator('[data-part="trip"]').textContent(), /^[\d.]+ m?s$/)
      await page.locator('#answer-figure').filter({ hasText: /\d/ }).waitFor()
      t.equal(await page.locator('.uplot canvas').count(), 2)
    }),
  )

  await t.test('“Done” is said of the episode on show alone', t =>
    visit(t, url, {}, async page => {
      await page.goto(url)
      await page.getByLabel('Speed').selectOption('0')
      const outcome = page.locator('[data-part="outcome"]')
      await pauseWhenDone(page)
      t.match(await outcome.textContent(), /Done in/)
      await page.keyboard.press('r')
      await page.getByText(/^0 of 80/).waitFor()
      t.equal(await outcome.textContent(), '', 'a new episode is not done')
    }),
  )

  await t.test('a second robot has its own table', t =>
    visit(t, url, {}, async page => {
      await page.goto(url)
      await page.getByLabel('Speed').selectOption('0')
      const second = page.getByRole('button', { name: 'Second robot' })
      await second.click()
      t.equal(await page.getByRole('article').count(), 2)
      const [one, two] = [1, 2].map(number => page.getByRole('article', { name: `Robot ${number}` }))
      await two!.getByLabel('Task').selectOption({ label: 'pick up the green block' })
      await two!.getByText(/Done in \d+ steps: pick up the green block/).waitFor()
      await one!.getByText('Done in').waitFor()
      t.match(await one!.locator('[data-part="seed"]').textContent(), /^\d$/)
      t.match(await two!.locator('[data-part="seed"]').textContent(), /^100\d$/)
      await second.click()
      t.equal(await page.getByRole('article').count(), 1)
    }),
  )

  const calm: Visit = { reducedMotion: 'reduce', colorScheme: 'dark' }
  await t.test('the keyboard does all, and calm is kept for those who ask for it', t =>
    visit(t, url, calm, async page => {
      const sent: SentObservation[] = []
      observations(page, observation => sent.push(observation))
      await page.goto(url)
      const step = page.locator('[data-part="step"]')
      const pause = page.locator('#pause')
      await page.getByText('Connected').waitFor()
      t.equal(await pause.textContent(), 'Go on', 'nothing moves by itself')
      t.equal(await step.textContent(), '0 of 80')
      await page.keyboard.press('3')
      t.equal(await page.getByLabel('3 denoise steps').getAttribute('aria-pressed'), 'true')
      await page.keyboard.press('n')
      await page.getByText('1 of 80').waitFor()
      t.equal(sent[0]?.options.num_steps, 3)
      await page.keyboard.press('p')
      t.equal(await pause.textContent(), 'Pause')
      await page.getByText(/^([3-9]|\d\d) of 80/).waitFor()
      await page.keyboard.press('p')
      await page.keyboard.press('r')
      await page.getByText(/^[01] of 80/).waitFor()
      await page.keyboard.press('b')
      t.equal(await page.getByRole('article').count(), 2)
      await page.keyboard.press('b')
      t.equal(await page.getByRole('article').count(), 1)

      const reached: string[] = []
      for (let tab = 0; tab < 16; tab++) {
        await page.keyboard.press('Tab')
        reached.push(await page.evaluate('document.activeElement.id || document.activeElement.textContent'))
        t.equal(await page.evaluate('getComputedStyle(document.activeElement).outlineStyle'), 'solid')
      }
      for (const name of ['API', 'pause', 'step', '10', 'rate', 'seed', 'Restart', 'second'])
        t.ok(reached.includes(name), `${name} is reached with Tab`)
      await page.getByText('Keyboard shortcuts').click()
      await page.getByLabel('Single-key shortcuts are on').uncheck()
      await page.keyboard.press('p')
      t.equal(await pause.textContent(), 'Go on', 'shortcuts can be switched off')

      const ground = 'getComputedStyle(document.documentElement).backgroundColor'
      const dark = await page.evaluate(ground)
      await page.emulateMedia({ colorScheme: 'light' })
      t.not(await page.evaluate(ground), dark)
      await page.setViewportSize({ width: 375, height: 740 })
      t.equal(await page.evaluate('document.documentElement.scrollWidth'), 375, 'no sideways scrolling')
    }),
  )

  const picture = process.env['PAGE_SCREENSHOT']
  if (picture) await t.test('the picture of the README', t => screenshot(t, visit, url, picture))
})

/** Pauses, with the key for it, at the end of an episode: within a second the next one begins, however busy the machine is. */
const pauseWhenDone = (page: Page) =>
  page.evaluate(`new Promise(resolve => {
    const outcome = document.querySelector('[data-part="outcome"]')
    const observer = new MutationObserver(() => {
      if (!outcome.textContent.startsWith('Done in')) return
      observer.disconnect()
      document.dispatchEvent(new KeyboardEvent('keydown', { key: 'p' }))
      resolve()
    })
    observer.observe(outcome, { childList: true, characterData: true, subtree: true })
  })`)

type Camera = 'observation/image' | 'observation/wrist_image'

interface SentObservation {
  observation: Record<Camera, { data: string }> & { 'observation/state': number[] }
  options: { num_steps: number }
}

/** Tells of every observation that the page sends, among its other messages. */
function observations(page: Page, tell: (observation: SentObservation) => void): void {
  page.on('websocket', socket =>
    socket.on('framesent', ({ payload }) => {
      const message = JSON.parse(payload as string)
      if (message.type === 'observation') tell(message)
    }),
  )
}

/** A block on its way to a plate, for the README: PAGE_SCREENSHOT=docs/page.png npx tap test/page/tabletop.test.ts */
async function screenshot(t: Test, visit: VisitPage, url: string, path: string): Promise<void> {
  const options = { deviceScaleFactor: 2, viewport: { width: 1280, height: 740 } }
  await visit(t, url, options, async page => {
    await page.goto(url)
    await page.getByText('5 of 5').first().waitFor()
    const task = 'pick up the purple block and place it on the white plate'
    await page.getByLabel('Task').selectOption({ label: task })
    await page.getByText(/^1[67] of 80$/).waitFor()
    await page.keyboard.press('p')
    await page.screenshot({ path })
  })
}
