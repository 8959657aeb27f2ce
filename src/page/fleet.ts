import type { Fleet, FleetRobot } from '../contract/page.js'
import { byId, html, milliseconds, nameOf } from './dom.js'
import { inWords, showHeld } from './findings.js'
import { every } from './link.js'
import { get } from './server.js'

const INTERVAL_MS = 2000

/** Shows the robots that have named themselves: those first that need somebody. */
export function watchFleet(): void {
  const rows = new Map<string, FleetRow>()
  every(INTERVAL_MS, async () => {
    const response = await get('page/fleet')
    if (!response?.ok) return true
    const { known, robots } = (await response.json()) as Fleet
    byId('fleet-text', HTMLElement).textContent = explained(known, robots.length)
    byId('fleet-table', HTMLElement).hidden = robots.length === 0
    showHeld(byId('held-list', HTMLElement), robots)
    const body = byId('fleet-rows', HTMLElement)
    for (const [name, row] of rows) {
      if (robots.some(({ robot }) => robot === name)) continue
      row.element.remove()
      rows.delete(name)
    }
    for (const [at, robot] of robots.entries()) {
      const row = rows.get(robot.robot) ?? new FleetRow(robot)
      rows.set(robot.robot, row)
      if (body.children[at] !== row.element) body.insertBefore(row.element, body.children[at] ?? null)
      row.draw(robot)
    }
    return true
  })
}

function explained(known: number, shown: number): string {
  if (known === 0)
    return 'No robot has named itself yet: they do so in hello, with ?robot=NAME or with the header X-Robot.'
  const few = known > shown ? ` ${shown} are shown: held ones, then those with trouble, then the latest.` : ''
  return `${known} ${known === 1 ? 'robot' : 'robots'}, counted since the server knows them.${few}`
}

class FleetRow {
  readonly element = html('tr')
  #answers: number
  #at = performance.now()

  constructor({ answers }: FleetRobot) {
    this.#answers = answers
  }

  draw(robot: FleetRobot): void {
    const now = performance.now()
    const rate = (1000 * (robot.answers - this.#answers)) / (now - this.#at)
    this.#answers = robot.answers
    this.#at = now
    this.element.classList.toggle('held', robot.held !== null)
    const name = html('th')
    name.scope = 'row'
    name.append(nameOf(robot.robot))
    if (robot.policy && robot.policy !== 'default') name.append(html('small', robot.policy))
    this.element.replaceChildren(
      name,
      cell('Heard', robot.held ? 'held' : `${milliseconds(robot.heard_ms)} ago`),
      cell('Streams', String(robot.connections)),
      cell('Answers/s', Number.isFinite(rate) ? Math.max(0, rate).toFixed(1) : '–'),
      cell('Age', robot.age_ms === null ? '–' : milliseconds(robot.age_ms)),
      cell('Late', String(robot.late)),
      cell('Skipped', String(robot.skipped)),
      cell('Guard', String(robot.findings), robot.last_finding ? inWords(robot.last_finding) : undefined),
      cell('Errors', String(robot.errors), robot.last_error ?? undefined),
    )
  }
}

/** `last`: the last of what is counted, in words. */
function cell(label: string, text: string, last?: string): HTMLElement {
  const element = html('td', text)
  element.dataset['label'] = label
  if (last !== undefined) element.append(html('small', last, 'bad'))
  return element
}
