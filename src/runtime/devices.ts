/** Cards, as CUDA counts those that the process sees. */
export type Devices = 'all' | readonly number[]

/** What `--devices` takes: `all`, or ordinals. Throws an Error that says so. */
export function parsedDevices(text: string): Devices {
  if (text.trim() === 'all') return 'all'
  const devices = text.split(',').map(part => (/^\s*\d{1,3}\s*$/.test(part) ? Number(part) : Number.NaN))
  if (devices.some(Number.isNaN) || new Set(devices).size < devices.length)
    throw new Error('all, or numbers of GPUs with commas between them, each once')
  return devices
}

/** The ordinals that are meant, of `count` cards. */
export const chosenDevices = (devices: Devices, count: number): readonly number[] =>
  devices === 'all' ? Array.from({ length: count }, (_, device) => device) : devices
