import { readFileSync } from 'node:fs'
import { repositoryPath } from '../support/served-policy.js'

const picture = (name: string) => readFileSync(repositoryPath(`examples/${name}.jpg`))
const state = JSON.parse(readFileSync(repositoryPath('examples/state.json'), 'utf8')) as number[]

/** A good observation of the LIBERO policies, for each wire. */
export const jsonObservation = {
  'observation/image': picture('image').toString('base64'),
  'observation/wrist_image': picture('wrist_image').toString('base64'),
  'observation/state': state,
  prompt: 'pick up the red block',
}

export const msgpackObservation = {
  'observation/image': picture('image'),
  'observation/wrist_image': picture('wrist_image'),
  'observation/state': state,
}
