import type { NativeCard } from './addon.js'

/**
 * Why a card's clocks are lower than they could be, by the bits of nvmlClocksEventReasons in NVIDIA's NVML reference. A card that
 * idles, or has clocks that somebody set, is not among them.
 */
const SLOWED_BY = {
  sw_power_cap: 0x4,
  hw_slowdown: 0x8,
  sync_boost: 0x10,
  sw_thermal_slowdown: 0x20,
  hw_thermal_slowdown: 0x40,
  hw_power_brake_slowdown: 0x80,
} as const

export type SlowedBy = keyof typeof SLOWED_BY

export const SLOWED_BY_ALL = Object.keys(SLOWED_BY) as SlowedBy[]

/** What a card is at. What it does not tell is undefined. */
export interface CardReading
  extends Omit<NativeCard, 'utilisation' | 'memoryUtilisation' | 'clockReasons' | 'processes'> {
  /** Shares, 0…1, of the last moment in which kernels ran, and in which memory was read or written. */
  readonly utilisation: number | undefined
  readonly memoryUtilisation: number | undefined
  readonly slowedBy: readonly SlowedBy[] | undefined
  /** Processes that compute on it, besides this one. */
  readonly otherProcesses: number | undefined
}

const share = (percent: number | undefined) => (percent === undefined ? undefined : percent / 100)

/**
 * What NVML's numbers mean. Where this process is not in the list by its own number, as in a container, whose driver gives the
 * numbers of the host, one of the list is this one all the same: it has a context on the card.
 */
export function cardReading({
  utilisation,
  memoryUtilisation,
  clockReasons,
  processes,
  ...rest
}: NativeCard): CardReading {
  return {
    ...rest,
    utilisation: share(utilisation),
    memoryUtilisation: share(memoryUtilisation),
    slowedBy:
      clockReasons === undefined
        ? undefined
        : SLOWED_BY_ALL.filter(reason => (clockReasons & SLOWED_BY[reason]) !== 0),
    otherProcesses: processes && Math.max(0, processes.length - 1),
  }
}
