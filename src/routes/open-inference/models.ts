import { readFileSync } from 'node:fs'
import { shown, shownNames } from '../../contract/limits.js'
import type { ModelName } from '../../contract/open-inference/grpc.js'
import { MODEL_VERSION } from '../../contract/open-inference/request.js'
import { signatureOf } from '../../contract/open-inference/signature.js'
import { TurboPiError } from '../../errors.js'
import type { Served } from '../../service/served.js'

const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
  version: string
}

/** What a server says of itself. */
export const SERVER_METADATA = { name: 'turbo-pi', version, extensions: ['binary_tensor_data'] }

/** The policies of a server as models: each under the name by which it is served, in one version. */
export class Models {
  readonly #policies: readonly Served[]

  constructor(policies: readonly Served[]) {
    this.#policies = policies
  }

  /** Throws NOT_FOUND, and says what there is. */
  find({ name, version }: ModelName): Served {
    const served = this.named(name)
    if (!served)
      throw new TurboPiError(
        'NOT_FOUND',
        `There is no model ${shown(name)}; there ${this.#policies.length === 1 ? 'is' : 'are'} ${shownNames(this.#policies.map(one => one.name))}.`,
      )
    if (version !== undefined && version !== MODEL_VERSION)
      throw new TurboPiError(
        'NOT_FOUND',
        `The model ${name} has no version ${shown(version)}; leave it out, or send ${MODEL_VERSION}.`,
      )
    return served
  }

  named(name: string | undefined): Served | undefined {
    return this.#policies.find(served => served.name === name)
  }

  /** Why not every policy can answer; undefined when all can. */
  get unready(): TurboPiError | undefined {
    return this.#policies.map(({ current }) => current.service.unready).find(Boolean)
  }
}

export function modelMetadata({ name, current }: Served) {
  const { observation, shape } = current.service.metadata()
  return { name, versions: [MODEL_VERSION], platform: 'turbo-pi', ...signatureOf(observation, shape) }
}
