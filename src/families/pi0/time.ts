import type { ModelConfig, TimeGrid } from './config.js'

/** Times from 1 down at which a sampler of `steps` steps evaluates the velocity (network §3.7). */
export function timeGrid(steps: number, grid: TimeGrid): number[] {
  if (grid === 'lerobot') return Array.from({ length: steps }, (_, k) => 1 + k * (-1 / steps))
  const dt = Math.fround(-1 / steps)
  const times = [1]
  for (let k = 1; k < steps; k++) times.push(Math.fround(times[k - 1]! + dt))
  return times
}

/** Times that a step count's modulations are made for: its grid, then, where rows may be given, theirs. */
export function modulatedTimes(config: ModelConfig, steps: number): number[] {
  const times = timeGrid(steps, config.timeGrid)
  return config.trainedDelay > 0 ? [...times, 0] : times
}

/** [times, expert width]: sine and cosine embeddings of the times in float32, computed in float64 (network §3.6). */
export function timeEmbeddings(config: ModelConfig, times: readonly number[]): Float32Array {
  const { timeMinPeriod, timeMaxPeriod, expert } = config
  const half = expert.width / 2
  const embeddings = new Float32Array(times.length * expert.width)
  for (const [k, time] of times.entries())
    for (let i = 0; i < half; i++) {
      const fraction = half > 1 ? i / (half - 1) : 0
      const period = timeMinPeriod * (timeMaxPeriod / timeMinPeriod) ** fraction
      const angle = (2 * Math.PI * Math.fround(time)) / period
      embeddings[k * expert.width + i] = Math.sin(angle)
      embeddings[k * expert.width + half + i] = Math.cos(angle)
    }
  return embeddings
}
