import type { Backend } from '../backend.js'
import { createCudaRuntime, probeCuda, refuses } from './create.js'

export const cudaBackend: Backend = {
  name: 'cuda',
  title: 'CUDA',
  arithmetics: ['bf16', 'fp32', 'fp8'],
  severalCards: true,
  lanes: [1, 2],
  probe: () => probeCuda(),
  refuses,
  open: createCudaRuntime,
}
