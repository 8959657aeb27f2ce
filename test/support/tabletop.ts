import { type Ask, type EpisodeResult, runEpisode } from '../../src/commands/eval/episode.js'
import { actionRows } from '../../src/contract/answer.js'
import type { ObservationImage } from '../../src/contract/observation.js'
import type { Precision } from '../../src/onnx/arithmetic.js'
import type { Policy } from '../../src/policy/policy.js'
import { createRuntime } from '../../src/runtime/backends.js'
import { PolicyService } from '../../src/service/service.js'
import { IMAGE_SIZE } from '../../src/tabletop/drawing.js'

/** Lets a policy act on the tabletop without any protocol between them; closes it at the end. */
export async function actOnTabletop(
  policy: Policy,
  {
    episodes,
    seed,
    steps,
    precision = 'fp32',
  }: { episodes: number; seed: number; steps: number; precision?: Precision },
): Promise<EpisodeResult[]> {
  const runtime = createRuntime(policy, {
    runtime: 'cpu',
    precision,
    threads: 0,
    pipeline: 'off',
    maxBatch: 1,
  })
  const service = new PolicyService({ policy, runtime })
  const pixels = (data: Uint8Array): ObservationImage => ({
    kind: 'array',
    dtype: 'uint8',
    shape: [IMAGE_SIZE, IMAGE_SIZE, 3],
    data,
  })
  const ask: Ask = async ({ image, wristImage, state, prompt }, noise) => {
    const observation = {
      images: { 'observation/image': pixels(image), 'observation/wrist_image': pixels(wristImage) },
      state: { 'observation/state': state },
      prompt,
    }
    return actionRows(await service.infer(observation, { steps, noise }, { session: 'test' }))
  }
  await service.start()
  try {
    const results: EpisodeResult[] = []
    for (let index = 0; index < episodes; index++)
      results.push(await runEpisode({ episodes, seed, execute: 5 }, index, ask))
    return results
  } finally {
    await service.close()
  }
}

export const solvedOf = (results: readonly EpisodeResult[]) => results.filter(({ success }) => success).length
