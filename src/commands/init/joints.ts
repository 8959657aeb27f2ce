import { TurboPiError } from '../../errors.js'
import type { Joints } from '../../policy/embodiment.js'
import { jointOf, NO, yesOrNo } from './answers.js'
import type { Interview } from './interview.js'
import type { Own } from './options.js'

/** Names, units and limits of the numbers of an action; undefined when they are not wanted. */
export async function askJoints(
  interview: Interview,
  { joint }: Own,
  count: number,
  names: readonly string[],
): Promise<Joints | undefined> {
  if (joint.length > 0 && joint.length !== count)
    throw new TurboPiError(
      'CONFIG_INVALID',
      `--joint was given ${joint.length} times; an action has ${count} numbers, and each needs one.`,
    )
  const wanted =
    joint.length > 0 ||
    (interview.asks &&
      (await interview.ask({
        flag: 'joint',
        text: `Name the ${count} numbers of an action, with units and limits for the guard`,
        given: undefined,
        otherwise: NO,
        read: yesOrNo,
      })))
  if (!wanted) return undefined
  const joints: Joints = []
  for (let i = 0; i < count; i++)
    joints.push(
      await interview.ask({
        flag: 'joint',
        text: `Number ${i + 1} of ${count}: NAME:UNIT:MIN..MAX`,
        given: joint[i],
        otherwise: names[i] ?? `joint_${i + 1}`,
        read: jointOf,
      }),
    )
  return joints
}
