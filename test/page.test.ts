import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import sharp from 'sharp'
import t, { type Test } from 'tap'
import { RobotWatch } from '../src/policy/guard/robot-watch.js'
import type { GuardMode } from '../src/policy/guard/settings.js'
import { StateWatch } from '../src/policy/guard/state-watch.js'
import { Episode } from '../src/tabletop/episode.js'
import { SUITE } from '../src/tabletop/tasks.js'
import { buildPage } from './support/built-page.js'
import { repositoryPath, servePolicy } from './support/served-policy.js'
import { startServer, stopServers, TestSocket } from './support/server.js'

const CHROMIUM = process.env['CHROMIUM'] ?? '/usr/bin/chromium'
const skip = existsSync(CHROMIUM) ? false : `there is no Chromium at ${CHROMIUM}: set CHROMIUM`
const HTML = { headers: { accept: 'text/html' } }

buildPage()
t.teardown(stopServers)

t.test('one address for browsers and for clients of openpi', async t => {
  const { url } = await startServer()
  const page = await fetch(url, HTML)
  t.equal(page.status, 200)
  t.equal(page.headers.get('content-type'), 'text/html; charset=utf-8')
  const policy = page.headers.get('content-security-policy') ?? ''
  t.match(policy, "default-src 'none'")
  t.notMatch(policy, /unsafe|https?:|\*/)
  t.notMatch(await page.text(), /(?:src|href)="(?:https?:)?\/\//, 'nothing is loaded from elsewhere')
  t.equal((await fetch(url)).status, 426)
  const client = new TestSocket(url)
  t.ok((await client.frame()).isBinary, 'the metadata of an openpi server')
  client.socket.terminate()
})

t.test('the files of the page, and no others', async t => {
  const { url } = await startServer()
  for (const [path, type] of [
    ['page/main.js', 'text/javascript; charset=utf-8'],
    ['page/style.css', 'text/css; charset=utf-8'],
    ['page/icon.svg', 'image/svg+xml'],
    ['tabletop/episode.js', 'text/javascript; charset=utf-8'],
    ['errors.js', 'text/javascript; charset=utf-8'],
    ['uplot.js', 'text/javascript; charset=utf-8'],
    ['uplot.css', 'text/css; charset=utf-8'],
  ] as const) {
    const response = await fetch(`${url}/page/${path}`)
    t.equal(response.status, 200, path)
    t.equal(response.headers.get('content-type'), type)
    t.equal(response.headers.get('x-content-type-options'), 'nosniff')
  }
  for (const path of [
    'server.js',
    'page/main.d.ts',
    'page/none.js',
    '%2e%2e/package.json',
    'page/..%2fserver.js',
  ])
    t.equal((await fetch(`${url}/page/${path}`)).status, 404, path)
})

t.test('with an API key the page opens, and asks for it before anything else', async t => {
  const { url } = await startServer({ config: { apiKey: 'sesame' }, runtime: { milliseconds: 1 } })
  t.equal((await fetch(url, HTML)).status, 200)
  t.equal((await fetch(`${url}/page/page/main.js`)).status, 200)
  t.equal((await fetch(`${url}/page/sessions`)).status, 401)
  t.equal((await fetch(`${url}/page/sessions/a/b`)).status, 401)
  const asking = (key: string) =>
    new TestSocket(`${url}/stream`, [
      'turbo-pi.v1+json',
      `turbo-pi.key.${Buffer.from(key).toString('base64url')}`,
    ])
  t.equal(await asking('wrong').opened(), 401)
  const client = asking('sesame')
  t.match(await client.json(), { type: 'ready' })
  t.equal(client.socket.protocol, 'turbo-pi.v1+json')
  client.socket.terminate()
})

t.test('a connection that a browser opened in advance does not hold up the end', async t => {
  const { app, url } = await startServer()
  const accepted = once(app.server, 'connection')
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  const dropped = once(socket, 'close')
  await accepted
  await app.close()
  await dropped
  t.ok(socket.destroyed)
})

t.test('sessions are watched only when asked for', async t => {
  const pixels = Buffer.from(Array.from({ length: 48 }, (_, at) => at))
  const raw = { data: pixels.toString('base64'), encoding: 'rgb8', width: 4, height: 4 }
  const jpeg = await sharp(pixels, { raw: { width: 4, height: 4, channels: 3 } })
    .jpeg()
    .toBuffer()
  const infer = (url: string, image: unknown) =>
    fetch(`${url}/infer`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ 'observation/image': image, 'observation/state': [3, 4], prompt: 'stack' }),
    })
  const off = await startServer({ runtime: { milliseconds: 1 } })
  t.equal((await infer(off.url, raw)).status, 200)
  t.same(await (await fetch(`${off.url}/page/sessions`)).json(), { watching: false, sessions: [] })

  const on = await startServer({ runtime: { milliseconds: 1 }, config: { watchSessions: true } })
  for (const [image, type] of [
    [raw, 'image/png'],
    [jpeg.toString('base64'), 'image/jpeg'],
  ] as const) {
    const answer = (await (await infer(on.url, image)).json()) as { actions: number[][] }
    const reply = await fetch(`${on.url}/page/sessions`)
    const { watching, sessions } = (await reply.json()) as {
      watching: boolean
      sessions: { session: string; actions: number[][] }[]
    }
    t.ok(watching)
    const seen = sessions[0]!
    t.match(seen, { prompt: 'stack', state: { 'observation/state': [3, 4] }, cameras: ['observation/image'] })
    t.same(seen.actions, answer.actions)
    const camera = `${on.url}/page/sessions/${encodeURIComponent(seen.session)}/observation%2Fimage`
    const response = await fetch(camera)
    t.equal(response.headers.get('content-type'), type)
    const bytes = Buffer.from(await response.arrayBuffer())
    if (type === 'image/jpeg') t.same(bytes, jpeg, 'a file as it came')
    else t.same(await sharp(bytes).raw().toBuffer(), pixels, 'pixels exactly')
    t.equal((await fetch(`${camera}2`)).status, 404)
  }
})

t.test('in a browser', { skip, timeout: 100_000 }, async t => {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
  t.teardown(() => browser.close())
  const tabletop = await servePolicy(repositoryPath('policies/tabletop'))
  t.teardown(tabletop.close)
  const url = await tabletop.app.listen({ port: 0, host: '127.0.0.1' })

  await t.test('the bundled policy solves a task on the page', t =>
    visit(t, browser, url, {}, async page => {
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
      await page.getByText('Done in').waitFor()
      t.match(await page.locator('#success').textContent(), /^1 of 1$|^2 of 2$/)
      t.equal(await page.locator('#server-state').textContent(), 'Connected')
      t.equal(await page.locator('#notice').isVisible(), false)
      t.match(await page.locator('[data-part="trip"]').textContent(), /^[\d.]+ m?s$/)
      await page.locator('#answer-figure').filter({ hasText: /\d/ }).waitFor()
      t.equal(await page.locator('.uplot canvas').count(), 2)
    }),
  )

  await t.test('a second robot has its own table', t =>
    visit(t, browser, url, {}, async page => {
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
    visit(t, browser, url, calm, async page => {
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

  await t.test('another policy: its last observations, when they are watched', async t => {
    const runtime = { milliseconds: 1 }
    const unwatched = await startServer({ runtime })
    await visit(t, browser, unwatched.url, {}, async page => {
      await page.goto(unwatched.url)
      await page.getByText('--watch-sessions').waitFor()
      t.equal(await page.locator('#toolbar').isVisible(), false)
    })

    const { url } = await startServer({ runtime, config: { watchSessions: true, apiKey: 'secret' } })
    await visit(t, browser, url, { expected: /401/ }, async page => {
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

  await t.test('what guards found is told, and a robot that is held is cleared by hand', async t => {
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
    await visit(t, browser, reporting.url, {}, async page => {
      await page.goto(reporting.url)
      t.equal((await infer(reporting.url, 1e6)).status, 200)
      await page
        .locator('.session .findings')
        .getByText('state bounds: lift (m) is 1000000, limit 9')
        .waitFor()
    })
    const holding = await guarded('hold')
    await visit(t, browser, holding.url, {}, async page => {
      await page.goto(holding.url)
      t.equal((await infer(holding.url, 1e6)).status, 409)
      await page.getByText(/arm-1 is held for .*lift \(m\)/).waitFor()
      await page.getByRole('button', { name: 'Clear arm-1' }).click()
      await page.getByText('arm-1 is held').waitFor({ state: 'detached' })
      t.equal((await infer(holding.url, 1)).status, 200)
    })
  })

  await t.test('a policy that does not know the table, and a server that goes away', async t => {
    const tiny = await servePolicy()
    t.teardown(() => tiny.close())
    const url = await tiny.app.listen({ port: 0, host: '127.0.0.1' })
    await visit(t, browser, url, { expected: /./ }, async page => {
      await page.goto(url)
      await page.getByText('“tiny-libero” was not trained on this table').waitFor()
      const state = page.locator('#server-state')
      const moving = page.getByText(/^[1-9]\d? of 80/)
      await moving.waitFor()
      await tiny.close()
      await page.getByText('Connecting').waitFor()
      const again = await servePolicy()
      t.teardown(() => again.close())
      await again.app.listen({ port: Number(new URL(url).port), host: '127.0.0.1' })
      await page.getByText('Connected').waitFor()
      t.equal(await state.getAttribute('data-state'), 'ready')
      await page.getByRole('button', { name: 'Restart' }).click()
      await page.getByText(/^0 of 80/).waitFor()
      await moving.waitFor()
    })
  })

  if (process.env['PAGE_SCREENSHOT']) await screenshot(t, browser, url, process.env['PAGE_SCREENSHOT'])
})

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

interface Visit extends BrowserContextOptions {
  /** What the console may say. */
  expected?: RegExp
}

/** Opens a page in a context of its own. It must load everything from its server and say nothing on the console. */
async function visit(
  t: Test,
  browser: Browser,
  url: string,
  { expected, ...options }: Visit,
  act: (page: Page) => Promise<void>,
): Promise<void> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options })
  const page = await context.newPage()
  const complaints: string[] = []
  const strangers: string[] = []
  page.on('pageerror', error => complaints.push(error.message))
  page.on('console', message => {
    if (!expected?.test(message.text())) complaints.push(message.text())
  })
  page.on('request', request => {
    if (!request.url().startsWith(url) && !request.url().startsWith('blob:')) strangers.push(request.url())
  })
  try {
    await act(page)
  } finally {
    await context.close()
  }
  t.same(complaints, [], 'nothing on the console')
  t.same(strangers, [], 'nothing from elsewhere')
}

/** A block on its way to a plate, for the README: PAGE_SCREENSHOT=docs/page.png npx tap test/page.test.ts */
async function screenshot(t: Test, browser: Browser, url: string, path: string): Promise<void> {
  const options = { deviceScaleFactor: 2, viewport: { width: 1280, height: 740 } }
  await visit(t, browser, url, options, async page => {
    await page.goto(url)
    await page.getByText('5 of 5').first().waitFor()
    const task = 'pick up the purple block and place it on the white plate'
    await page.getByLabel('Task').selectOption({ label: task })
    await page.getByText(/^1[67] of 80$/).waitFor()
    await page.keyboard.press('p')
    await page.screenshot({ path })
  })
}
