import type { GuardFinding } from '../contract/guard.js'
import type { Metadata } from '../contract/page.js'
import { ChunkPlot } from './chunk-plot.js'
import { byId, html, milliseconds, nameOf, part } from './dom.js'
import { showFindings } from './findings.js'
import { post, problemOf } from './server.js'

/** Side and brightness of the picture that stands for a required camera without a file. */
const GREY = { side: 224, level: 128 }

/** Milliseconds that an answer may take: a large policy on a CPU needs many seconds. */
const PATIENCE_MS = 300_000

type Camera = Metadata['observation']['cameras'][number]

interface Answer {
  actions: number[][]
  seed: number | null
  guard: { findings: GuardFinding[] }
  server_timing: { total_ms: number }
}

/** Sends one observation that somebody has put together, and shows what comes back. */
export class ObservationForm {
  readonly #observation: Metadata['observation']
  readonly #cameras: { camera: Camera; input: HTMLInputElement }[]
  readonly #state: HTMLInputElement[]
  readonly #prompt = byId('observation-prompt', HTMLInputElement)
  readonly #plot: ChunkPlot
  readonly #result = byId('observation-result', HTMLElement)

  constructor({ observation, joints, stateNames, defaultSteps }: Metadata) {
    this.#observation = observation
    this.#cameras = observation.cameras.map(camera => ({ camera, input: fileInput(camera) }))
    byId('observation-cameras', HTMLElement).append(
      ...this.#cameras.map(({ camera, input }) => labelled(cameraLabel(camera), input)),
    )
    this.#state = stateNames.map(numberInput)
    byId('observation-state', HTMLElement).append(
      ...this.#state.map((input, i) => labelled(stateNames[i]!, input)),
    )
    this.#prompt.required = observation.prompt.required
    this.#prompt.placeholder = observation.prompt.default ?? ''
    byId('observation-steps', HTMLInputElement).value = String(defaultSteps)
    this.#plot = new ChunkPlot(part(this.#result, 'chunk', HTMLElement), joints)
    byId('observation-form', HTMLFormElement).addEventListener('submit', event => {
      event.preventDefault()
      void this.#send()
    })
  }

  async #send(): Promise<void> {
    const button = byId('observation-send', HTMLButtonElement)
    const said = byId('observation-answer', HTMLElement)
    button.disabled = true
    said.className = ''
    said.textContent = 'Sent …'
    const robot = byId('observation-robot', HTMLInputElement).value
    const query = robot === '' ? '' : `?robot=${encodeURIComponent(robot)}`
    const response = await post(`infer${query}`, await this.#body(), PATIENCE_MS)
    button.disabled = false
    if (!response?.ok) {
      said.className = 'bad'
      said.textContent = await problemOf(response)
      return this.#show({ actions: [], guard: { findings: [] } })
    }
    const answer = (await response.json()) as Answer
    const { actions, seed, server_timing } = answer
    said.textContent = `${actions.length} actions in ${milliseconds(server_timing.total_ms)}, with seed ${seed}. Values are those of the first action.`
    this.#show(answer)
  }

  #show({ actions, guard }: Pick<Answer, 'actions' | 'guard'>): void {
    part(this.#result, 'chunk', HTMLElement).hidden = actions.length === 0
    showFindings(this.#result, guard.findings)
    if (actions.length > 0) this.#plot.draw(actions)
  }

  /** What POST /infer takes: files as they are, so that the answer is the one that a robot would get. */
  async #body(): Promise<Record<string, unknown>> {
    const { state, prompt } = this.#observation
    const numbers = this.#state.map(({ valueAsNumber }) => valueAsNumber)
    const seed = byId('observation-seed', HTMLInputElement).valueAsNumber
    const images = await Promise.all(
      this.#cameras.map(async ({ camera, input }) => [camera.key, await imageOf(camera, input)]),
    )
    return {
      ...Object.fromEntries(images.filter(([, image]) => image !== undefined)),
      ...Object.fromEntries(state.map(({ key, size }) => [key, numbers.splice(0, size)])),
      ...(this.#prompt.value !== '' && { [prompt.key]: this.#prompt.value }),
      options: {
        num_steps: byId('observation-steps', HTMLInputElement).valueAsNumber,
        ...(!Number.isNaN(seed) && { seed }),
      },
    }
  }
}

function cameraLabel({ key, slot, required }: Camera): string {
  if (slot === null) return `${key} (not used by this policy)`
  return required ? `${key} (grey without a file)` : `${key} (left out without a file)`
}

async function imageOf({ required }: Camera, { files }: HTMLInputElement): Promise<unknown> {
  const file = files?.[0]
  if (file) return base64(file)
  if (!required) return undefined
  const { side, level } = GREY
  const data = await base64(new Blob([new Uint8Array(3 * side * side).fill(level)]))
  return { data, encoding: 'rgb8', width: side, height: side }
}

const base64 = (content: Blob) =>
  new Promise<string>((resolve, reject) => {
    const reader = new FileReader()
    reader.onload = () => resolve((reader.result as string).replace(/^[^,]*,/, ''))
    reader.onerror = () => reject(reader.error)
    reader.readAsDataURL(content)
  })

function labelled(text: string, input: HTMLInputElement): HTMLElement {
  const label = html('label')
  label.append(nameOf(text), input)
  return label
}

function fileInput({ description }: Camera): HTMLInputElement {
  const input = html('input')
  input.type = 'file'
  input.accept = 'image/jpeg,image/png,image/webp'
  input.title = description
  return input
}

function numberInput(): HTMLInputElement {
  const input = html('input')
  input.type = 'number'
  input.step = 'any'
  input.value = '0'
  input.required = true
  return input
}
