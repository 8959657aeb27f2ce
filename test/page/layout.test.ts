import t from 'tap'
import { EMBODIMENTS } from '../../src/policy/embodiment.js'
import { startBrowser, withoutBrowser } from '../support/browser.js'
import { LONG_NAMES, serveEmbodiment } from '../support/embodied-server.js'
import { stopServers } from '../support/server.js'

const skip = withoutBrowser
t.teardown(stopServers)

const SIZES = [
  { width: 360, height: 740, phone: true },
  { width: 768, height: 1024, phone: true },
  { width: 1400, height: 900, phone: false },
]

/** Texts that reach out of their boxes, or into one another. */
const OVERLAPS = `(() => {
  const texts = []
  const bad = []
  for (const element of document.querySelectorAll('main *')) {
    const own = [...element.childNodes].filter(node => node.nodeType === 3 && node.nodeValue.trim())
    if (own.length === 0 || element.closest('svg, select, [hidden]') || !element.checkVisibility()) continue
    const range = document.createRange()
    range.setStartBefore(own[0])
    range.setEndAfter(own.at(-1))
    const box = range.getBoundingClientRect()
    const { left, right } = element.closest('figure, .card, section, main').getBoundingClientRect()
    const text = element.textContent.slice(0, 60)
    if (box.left < left - 1 || box.right > right + 1) bad.push(text + ' leaves its box')
    for (const other of texts) {
      if (other.element.contains(element) || element.contains(other.element)) continue
      const across = Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left)
      const down = Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top)
      if (across > 1 && down > 3) bad.push(text + ' over ' + other.text)
    }
    texts.push({ text, box, element })
  }
  return bad
})()`

/** What is to be touched and is smaller than a finger. */
const TOO_SMALL = `[...document.querySelectorAll('button, select, summary, a, input')]
  .filter(element => element.checkVisibility() && !element.closest('p'))
  .map(element => (element.matches('[type="checkbox"]') ? element.closest('label') : element))
  .map(element => ({ element, box: element.getBoundingClientRect() }))
  .filter(({ box }) => box.width < 44 || box.height < 44)
  .map(({ element, box }) => (element.id || element.textContent) + ' ' + box.width + ' × ' + box.height)`

t.test('names of any length stand beside each other, on a phone as on a desk', { skip }, async t => {
  const visit = await startBrowser(t)
  for (const embodiment of [EMBODIMENTS.droid, EMBODIMENTS.aloha, LONG_NAMES])
    await t.test(embodiment.name, async t => {
      const { url, infer } = await serveEmbodiment(embodiment, { watchSessions: true })
      t.equal((await infer()).status, 200)
      t.equal((await infer('kitchen-cell-07.left-manipulator.floor-2.building-north.a')).status, 200)
      for (const { phone, ...viewport } of SIZES)
        await visit(t, url, { viewport, isMobile: phone, hasTouch: phone }, async page => {
          await page.goto(url)
          await page
            .locator('.session .chunk figure')
            .nth(2 * embodiment.actionSize - 1)
            .waitFor()
          await page.evaluate(
            'for (const details of document.querySelectorAll("details")) details.open = true',
          )
          t.equal(
            await page.evaluate('document.documentElement.scrollWidth'),
            viewport.width,
            `${viewport.width}: no sideways scrolling`,
          )
          t.same(await page.evaluate(OVERLAPS), [], `${viewport.width}: no text over another`)
          if (phone) t.same(await page.evaluate(TOO_SMALL), [], `${viewport.width}: all can be touched`)
        })
    })
})
