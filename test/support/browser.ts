import { existsSync } from 'node:fs'
import { type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import type { Test } from 'tap'
import { buildPage } from './built-page.js'

const CHROMIUM = process.env['CHROMIUM'] ?? '/usr/bin/chromium'

/** For a test's `skip`: why there is no browser, or false. */
export const withoutBrowser = existsSync(CHROMIUM)
  ? false
  : `there is no Chromium at ${CHROMIUM}: set CHROMIUM`

export interface Visit extends BrowserContextOptions {
  /** What the console may say. */
  expected?: RegExp
}

/**
 * Opens a page in a context of its own. It must load everything from the server at `url` and say nothing
 * on the console.
 */
export type VisitPage = (
  t: Test,
  url: string,
  visit: Visit,
  act: (page: Page) => Promise<void>,
) => Promise<void>

/** Builds the page and starts a headless Chromium, until the test ends. */
export async function startBrowser(t: Test): Promise<VisitPage> {
  buildPage()
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
  return async (t, url, { expected, ...options }, act) => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options })
    // Where a browser has a processor with others, it is slow.
    context.setDefaultTimeout(180_000)
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
}
