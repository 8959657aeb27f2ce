import type { PolicyNote } from '../handover.js'

/** A camera of the policy, and the feature that its pictures become. */
export interface CameraFeature {
  key: string
  feature: string
}

const last = (key: string) => key.slice(Math.max(key.lastIndexOf('/'), key.lastIndexOf('.')) + 1)

/** `observation/wrist_image` and `images.cam_high` are called after their last part, where that is theirs alone. */
export function cameraFeatures({ observation }: PolicyNote): CameraFeature[] {
  const keys = observation.cameras.map(({ key }) => key)
  return keys.map(key => {
    const short = last(key)
    const name =
      keys.filter(other => last(other) === short).length > 1 ? key.replaceAll(/[^\w]/g, '_') : short
    return { key, feature: `observation.images.${name}` }
  })
}

/** Names of the state's numbers: those of its parts, one after another. */
export const stateNames = ({ observation }: PolicyNote): string[] =>
  observation.state.flatMap(({ key, size }) =>
    size === 1 ? [last(key)] : Array.from({ length: size }, (_, at) => `${last(key)}_${at}`),
  )

const scalar = (dtype: string) => ({ dtype, shape: [1], names: null })

/** `features` of info.json. `shapes`: height and width of each camera. */
export function featureTable(
  note: PolicyNote,
  shapes: ReadonlyMap<string, readonly [height: number, width: number]>,
): Record<string, object> {
  const state = stateNames(note)
  return {
    ...Object.fromEntries(
      [...shapes].map(([feature, shape]) => [
        feature,
        { dtype: 'image', shape: [...shape, 3], names: ['height', 'width', 'channels'] },
      ]),
    ),
    'observation.state': { dtype: 'float32', shape: [state.length], names: state },
    action: { dtype: 'float32', shape: [note.shape.actionSize], names: [...note.joints] },
    intervention: scalar('bool'),
    'next.done': scalar('bool'),
    'next.success': scalar('bool'),
    timestamp: scalar('float32'),
    frame_index: scalar('int64'),
    episode_index: scalar('int64'),
    index: scalar('int64'),
    task_index: scalar('int64'),
  }
}
