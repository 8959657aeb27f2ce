/**
 * How strongly a denoise step at `time` (1 noise, 0 actions; never 0 itself) corrects the velocity towards the previous
 * chunk: ((1 − τ)² + τ²) / (τ(1 − τ)) with τ = 1 − time, at most `most` (rtc §1). It is infinite at time 1, so that the
 * first step takes `most`, and has its minimum 2 at ½.
 */
export function guidanceWeight(time: number, most: number): number {
  const done = 1 - time
  return Math.min((time ** 2 + done ** 2) / (done * time), most)
}
