import type { Backend } from '../backend.js'
import { createCpuRuntime } from './cpu-runtime.js'

export const cpuBackend: Backend = {
  name: 'cpu',
  title: 'CPU',
  arithmetics: ['fp32', 'int8', 'bf16', 'fp16', 'fp8'],
  lanes: [1, 2],
  probe: async () => ({ available: true }),
  open: ({ threads = 0, lanes, ...options }) =>
    createCpuRuntime({
      ...options,
      lanes,
      ...(threads > 0 && { threads: Math.max(1, Math.floor(threads / lanes)) }),
    }),
}
