import { availableParallelism, cpus } from 'node:os'

const LINE =
  /^time (\d+) rows?, 2 cameras, 64 tokens, 10 steps +vision +([\d.]+) +prefix +([\d.]+) +denoise +([\d.]+) \| host wall median +([\d.]+) p99 +([\d.]+)/gm

/**
 * The profile (src/capacity/profile.ts) of what network_check prints. It tells the 99th percentile of the whole alone: each
 * stage is taken to vary by as much. What a call takes beside its stages counts as prefix.
 */
export function gpuProfile(printed, prepareMs, { precision = 'bf16', device = deviceOf(printed) } = {}) {
  const batches = [...printed.matchAll(LINE)]
    .map(([, ...figures]) => figures.map(Number))
    .sort(([a], [b]) => a - b)
    .map(([rows, vision, , denoise, whole, p99]) => {
      const times = ms => [
        [50, round(ms)],
        [99, round((ms * p99) / whole)],
      ]
      return { rows, vision: times(vision), prefix: times(whole - vision - denoise), denoise: times(denoise) }
    })
  if (batches.length === 0) throw new Error(`network_check printed no times: ${printed}`)
  return {
    policy: 'released sizes, random weights',
    backend: 'cuda',
    precision,
    device,
    machine: `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown CPU'}`,
    cores: availableParallelism(),
    lanes: 1,
    steps: 10,
    prepare: [[100, prepareMs]],
    batches,
  }
}

const deviceOf = printed => /NVIDIA [^\n,]+/.exec(printed)?.[0] ?? 'NVIDIA GPU'

const round = ms => Math.round(1000 * ms) / 1000
