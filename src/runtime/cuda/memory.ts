import type { NativeAddon, NativeMemory, NativeSessionOptions } from '../gpu/addon.js'

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`

/**
 * Batches whose prefix a session holds: with two lanes more than the one that is perceived and the one that is denoised, so that
 * the perceive lane goes on while a long act is under way.
 */
export const prefixSlots = (lanes: 1 | 2): number => (lanes === 2 ? 4 : 1)

export const totalOf = ({ weights, slots, inputs, workspaces }: NativeMemory): number =>
  weights + slots + inputs + workspaces

/** "9.1 GB (weights 7.4, keys and values of 1 batch and 16 kept rows 1.2, inputs 0.1, workspaces 0.4)". */
export function described(
  memory: NativeMemory,
  session: Pick<NativeSessionOptions, 'slots' | 'kept'>,
): string {
  const { weights, slots, inputs, workspaces } = memory
  const total = totalOf(memory)
  const [unit, name] = total < 1e9 ? [1e6, 'MB'] : [1e9, 'GB']
  const part = (what: string, bytes: number) => `${what} ${(bytes / unit).toFixed(1)}`
  return `${(total / unit).toFixed(1)} ${name} (${[
    part('weights', weights),
    part(`keys and values of ${held(session)}`, slots),
    part('inputs', inputs),
    part('workspaces', workspaces),
  ].join(', ')})`
}

function held({ slots, kept = 0 }: Pick<NativeSessionOptions, 'slots' | 'kept'>): string {
  const batches = slots === 1 ? '1 batch' : `${slots} batches`
  return kept > 0 ? `${batches} and ${kept} kept rows` : batches
}

export interface CardRoom {
  /** What the policy takes on the card. */
  needed: NativeMemory
  /** Why that does not fit; undefined when it does, or when the card does not tell what is free. */
  short: string | undefined
}

/** What a policy takes on a card, and whether it is free there: before any of it is allocated. */
export async function roomFor(addon: NativeAddon, session: NativeSessionOptions): Promise<CardRoom> {
  const { device } = session
  const needed = await addon.cudaMemory(session)
  const [card] = await addon.readCards([device]).catch(() => [])
  const { memoryTotal: total, memoryUsed: used } = card ?? {}
  if (total === undefined || used === undefined || totalOf(needed) <= total - used)
    return { needed, short: undefined }
  const free = `${gigabytes(total - used)} of ${gigabytes(total)}`
  return {
    needed,
    short: `GPU ${device} has ${free} free, and the policy takes ${described(needed, session)}`,
  }
}
