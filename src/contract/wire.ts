/** How an observation travels: JSON with base64 images, or MessagePack with NumPy arrays (openpi's dialect). */
export type Wire = 'json' | 'msgpack'

/** Sizes of the action chunk: rows, width inside the network, width for the robot. */
export interface ActionShape {
  horizon: number
  actionDim: number
  actionSize: number
}
