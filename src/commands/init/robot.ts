import { TurboPiError } from '../../errors.js'
import { EMBODIMENTS, type Embodiment, type EmbodimentName } from '../../policy/embodiment.js'
import { readNormStats } from '../../policy/norm-stats.js'
import { cameraOf, NONE, nonEmpty, offsetsOf, stateOf } from './answers.js'
import { type GivenCheckpoint, ownSize } from './given-checkpoint.js'
import type { Interview } from './interview.js'
import { type Own, refuseOptions } from './options.js'

/** The embodiment of a robot that is not built in. Throws CONFIG_INVALID. */
export async function askRobot(
  interview: Interview,
  own: Own,
  given: GivenCheckpoint,
  statsPath: string,
): Promise<Embodiment> {
  const { model } = given
  const stats = readNormStats(statsPath)
  const [stateSize, actionSize] = [ownSize(stats.state, model), ownSize(stats.actions, model)]
  const name = await interview.ask({
    flag: 'robot',
    text: `Robot: ${BUILT_IN.join(', ')}, or the name of another`,
    given: own.robot,
    otherwise: given.name,
    read: nonEmpty,
  })
  const builtIn = BUILT_IN.find(known => known === name)
  if (builtIn) {
    refuseOptions(own, `robot ${name} is built in and has its own`, ['camera', 'state', 'promptKey'])
    const { deltaMask: _, ...robot }: Embodiment = EMBODIMENTS[builtIn]
    return { ...robot, ...(await askOffsets(interview, own, robot.actionSize)) }
  }
  const cameras = await askCameras(interview, own, model.cameraSlots)
  const state = await interview.ask({
    flag: 'state',
    text: `State, ${stateSize} numbers in the order of training (KEY:SIZE:DESCRIPTION, parts with commas between them)`,
    given: own.state,
    otherwise: `observation/state:${stateSize}`,
    read: answer => stateOf(answer, stateSize),
  })
  const promptKey = await interview.ask({
    flag: 'prompt-key',
    text: 'Key of the prompt',
    given: own.promptKey,
    otherwise: 'prompt',
    read: nonEmpty,
  })
  const offsets = await askOffsets(interview, own, Math.min(stateSize, actionSize))
  return { format: 'turbo-pi.embodiment/1', name, cameras, state, promptKey, actionSize, ...offsets }
}

const BUILT_IN = Object.keys(EMBODIMENTS) as readonly EmbodimentName[]

/** There is no usual answer: offsets that are sent as positions move a robot where nobody wants it. */
async function askOffsets(
  interview: Interview,
  own: Own,
  most: number,
): Promise<Pick<Embodiment, 'deltaMask'>> {
  const deltaMask = await interview.ask({
    flag: 'offsets',
    text: `Which numbers of an action are offsets from the state (openpi's make_bool_mask, for example 6,-1; ${NONE}: all are absolute)`,
    given: own.offsets,
    read: answer => offsetsOf(answer, most),
  })
  return deltaMask ? { deltaMask } : {}
}

async function askCameras(
  interview: Interview,
  { camera }: Own,
  slots: readonly string[],
): Promise<Embodiment['cameras']> {
  const given = new Map(
    camera.map(text => {
      const [slot = '', key = ''] = text.split(/=(.*)/s)
      if (!slots.includes(slot) || key === '')
        throw new TurboPiError(
          'CONFIG_INVALID',
          `--camera takes SLOT=KEY with one of the slots ${slots.join(', ')}, got ${JSON.stringify(text)}.`,
        )
      return [slot, key]
    }),
  )
  const cameras: Embodiment['cameras'] = []
  for (const slot of slots)
    cameras.push(
      ...(await interview.ask({
        flag: 'camera',
        text: `Camera of slot ${slot}: its key in an observation, for example images.top (images.top? when it may be missing; empty: none)`,
        // Cameras that are given are all that there are.
        given: given.get(slot) ?? (given.size > 0 ? '' : undefined),
        read: answer => cameraOf(slot, answer),
      })),
    )
  if (cameras.length > 0) return cameras
  throw new TurboPiError(
    'CONFIG_INVALID',
    `No camera was named; the policy needs one of ${slots.join(', ')}.`,
  )
}
