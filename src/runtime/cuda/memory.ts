import type { NativeAddon, NativeMemory, NativeStages } from '../gpu/addon.js'

const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`

export const totalOf = ({ weights, slots, inputs, workspaces }: NativeMemory): number =>
  weights + slots + inputs + workspaces

/** "9.1 GB (weights 7.4, keys and values 1.2, inputs 0.1, workspaces 0.4)". */
export function described(memory: NativeMemory): string {
  const { weights, slots, inputs, workspaces } = memory
  const total = totalOf(memory)
  const [unit, name] = total < 1e9 ? [1e6, 'MB'] : [1e9, 'GB']
  const part = (what: string, bytes: number) => `${what} ${(bytes / unit).toFixed(1)}`
  return `${(total / unit).toFixed(1)} ${name} (${[
    part('weights', weights),
    part('keys and values', slots),
    part('inputs', inputs),
    part('workspaces', workspaces),
  ].join(', ')})`
}

export interface CardRoom {
  /** What the policy takes on the card. */
  needed: NativeMemory
  /** Why that does not fit; undefined when it does, or when the card does not tell what is free. */
  short: string | undefined
}

/** What a policy takes on a card, and whether it is free there: before any of it is allocated. */
export async function roomFor(
  addon: NativeAddon,
  { stages, lanes, device }: { stages: NativeStages; lanes: 1 | 2; device: number },
): Promise<CardRoom> {
  const needed = await addon.cudaMemory({ stages, lanes, slots: lanes, device })
  const [card] = await addon.readCards([device]).catch(() => [])
  const { memoryTotal: total, memoryUsed: used } = card ?? {}
  if (total === undefined || used === undefined || totalOf(needed) <= total - used)
    return { needed, short: undefined }
  const free = `${gigabytes(total - used)} of ${gigabytes(total)}`
  return { needed, short: `GPU ${device} has ${free} free, and the policy takes ${described(needed)}` }
}
