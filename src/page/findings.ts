import type { GuardFinding } from '../contract/guard.js'
import { compact, html, milliseconds, part } from './dom.js'
import { get, post } from './server.js'

interface Hold {
  robot: string
  since: number
  finding: GuardFinding
}

const inWords = ({ kind, joint, row, value, limit }: GuardFinding) =>
  `${kind.replaceAll('_', ' ')}: ${joint}${row === null ? '' : `, row ${row}`} is ${compact(value)}, limit ${compact(limit)}`

/** Shows what the guards found in one answer, in the part `findings` of a card. */
export function showFindings(card: ParentNode, findings: readonly GuardFinding[]): void {
  part(card, 'findings', HTMLElement).replaceChildren(
    ...findings.map(finding => html('li', inWords(finding))),
  )
}

/** Shows the robots that guards hold, each with a button that lets it go on. */
export async function showHeld(list: HTMLElement): Promise<true> {
  const response = await get('robots/held')
  if (!response?.ok) return true
  const held = (await response.json()) as Hold[]
  list.replaceChildren(
    ...held.map(({ robot, since, finding }) => {
      const clear = html('button', 'Clear')
      clear.setAttribute('aria-label', `Clear ${robot}`)
      clear.addEventListener('click', () => {
        clear.disabled = true
        void post(`robots/${encodeURIComponent(robot)}/clear`)
      })
      const ago = milliseconds(Math.max(0, Date.now() - since))
      const item = html('li', `${robot} is held for ${ago}. ${inWords(finding)} `)
      item.append(clear)
      return item
    }),
  )
  return true
}
