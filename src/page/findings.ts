import type { GuardFinding } from '../contract/guard.js'
import type { FleetRobot } from '../contract/page.js'
import { compact, html, milliseconds, part } from './dom.js'
import { post } from './server.js'

export const inWords = ({ kind, joint, row, value, limit }: GuardFinding) =>
  `${kind.replaceAll('_', ' ')}: ${joint}${row === null ? '' : `, row ${row}`} is ${compact(value)}, limit ${compact(limit)}`

/** Shows what the guards found in one answer, in the part `findings` of a card. */
export function showFindings(card: ParentNode, findings: readonly GuardFinding[]): void {
  part(card, 'findings', HTMLElement).replaceChildren(
    ...findings.map(finding => html('li', inWords(finding))),
  )
}

/** Shows the robots that guards hold, each with a button that lets it go on. */
export function showHeld(list: HTMLElement, robots: readonly FleetRobot[]): void {
  const held = robots.flatMap(({ robot, held }) => (held ? [{ robot, ...held }] : []))
  // Who is about to press a button keeps it.
  const shown = Array.from(list.children, ({ id }) => id)
  const ids = held.map(({ robot }) => `held-${robot}`)
  if (shown.join() !== ids.join()) list.replaceChildren(...held.map(({ robot }) => heldItem(robot)))
  for (const [at, { robot, since, finding }] of held.entries()) {
    const ago = milliseconds(Math.max(0, Date.now() - since))
    part(list.children[at]!, 'why', HTMLElement).textContent =
      `${robot} is held for ${ago}. ${inWords(finding)} `
  }
}

function heldItem(robot: string): HTMLElement {
  const item = html('li')
  item.id = `held-${robot}`
  const why = html('span')
  why.dataset['part'] = 'why'
  const clear = html('button', 'Clear')
  clear.type = 'button'
  clear.setAttribute('aria-label', `Clear ${robot}`)
  clear.addEventListener('click', () => {
    clear.disabled = true
    void post(`robots/${encodeURIComponent(robot)}/clear`).then(response => {
      clear.disabled = response?.ok ?? false
    })
  })
  item.append(why, clear)
  return item
}
