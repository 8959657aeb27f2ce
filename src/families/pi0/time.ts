import type { ModelConfig } from './config.js'

/** Times at which a sampler of `steps` steps evaluates the velocity, accumulated in float32 from 1 down (pi05-spec §3.7). */
export function timeGrid(steps: number): Float32Array {
  const dt = timeStep(steps)
  const times = new Float32Array(steps).fill(1)
  for (let k = 1; k < steps; k++) times[k] = times[k - 1]! + dt
  return times
}

/** −1/steps in float32. */
export const timeStep = (steps: number) => Math.fround(-1 / steps)

/** [steps, expert width]: sine and cosine embeddings of the time grid, computed in float64 (pi05-spec §3.6). */
export function timeEmbeddings(config: ModelConfig, steps: number): Float32Array {
  const { timeMinPeriod, timeMaxPeriod, expert } = config
  const half = expert.width / 2
  const embeddings = new Float32Array(steps * expert.width)
  for (const [k, time] of timeGrid(steps).entries())
    for (let i = 0; i < half; i++) {
      const fraction = half > 1 ? i / (half - 1) : 0
      const period = timeMinPeriod * (timeMaxPeriod / timeMinPeriod) ** fraction
      const angle = (2 * Math.PI * time) / period
      embeddings[k * expert.width + i] = Math.sin(angle)
      embeddings[k * expert.width + half + i] = Math.cos(angle)
    }
  return embeddings
}
