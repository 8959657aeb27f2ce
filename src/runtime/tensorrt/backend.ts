import type { Backend } from '../backend.js'
import { probe } from '../gpu/addon.js'
import { createTensorRtRuntime } from './create.js'

export const tensorRtBackend: Backend = {
  name: 'tensorrt',
  title: 'TensorRT',
  arithmetics: ['bf16', 'fp16', 'fp32'],
  severalCards: true,
  lanes: [2, 1],
  async probe() {
    const { available, device, tensorrtVersion, reason = 'no reason was given', hint } = await probe()
    return available
      ? { available, found: `TensorRT ${tensorrtVersion} is there, on ${device}` }
      : { available, reason, ...(hint && { hint }) }
  },
  async build(options) {
    const runtime = await createTensorRtRuntime(options)
    const { precision, maxBatch, device } = runtime.info
    await runtime.close()
    return `engines ready: ${precision}, up to ${maxBatch} observations a call, ${device}`
  },
  open: createTensorRtRuntime,
}
