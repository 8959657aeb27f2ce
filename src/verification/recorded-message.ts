import { readFileSync } from 'node:fs'
import { decodeMsgpack } from '../contract/msgpack.js'
import { RequestParser } from '../contract/parse.js'
import type { Policy, PreparedObservation } from '../policy/policy.js'

/** Most images that a recorded observation may carry. */
const MAX_IMAGES = 64

/** Reads a file that holds one message of openpi's client, and prepares its observation. Throws what the policy throws. */
export function prepareRecorded(path: string, policy: Policy): Promise<PreparedObservation> {
  const { spec, model, actionSize } = policy
  const shape = { horizon: model.actionHorizon, actionDim: model.actionDim, actionSize }
  const parser = new RequestParser(spec, shape, { maxImages: MAX_IMAGES })
  return policy.prepare(parser.observation(decodeMsgpack(readFileSync(path)), 'msgpack'))
}
