import { type OnStage, percentOf, type Stage } from '../runtime/backend.js'

/** A stage as /readyz and messages tell it. */
export interface StartStage {
  /** In words, with what of it is being done. */
  stage: string
  /** 0…100, where it is known. */
  percent?: number
}

/** What the start of a service is at, and who wants to know. */
export class StartProgress {
  #stage: Stage = { name: 'reading the checkpoint' }
  readonly #listeners: OnStage[] = []

  get now(): StartStage {
    const { name, detail } = this.#stage
    const percent = percentOf(this.#stage)
    return { stage: detail ? `${name}, ${detail}` : name, ...(percent !== undefined && { percent }) }
  }

  readonly report: OnStage = stage => {
    this.#stage = stage
    for (const listener of this.#listeners) listener(stage)
  }

  listen(listener: OnStage): void {
    this.#listeners.push(listener)
  }
}
