/** npm run build:native: compiles the addon and, where nvcc is, the CUDA kernels into native/build/Release. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { compileKernels, findNvcc } from './kernels.mjs'
import { compileAddon, nativeRoot, requireCompiler } from './tools.mjs'

requireCompiler('npm run build:native')
const headers = process.env.TENSORRT_INCLUDE_DIR || 'auto'
if (headers !== 'auto' && headers !== 'mock' && !existsSync(path.join(headers, 'NvInfer.h'))) {
  console.error(
    `TENSORRT_INCLUDE_DIR is ${headers}, which has no NvInfer.h: name the directory of TensorRT's headers.`,
  )
  process.exit(1)
}
compileAddon(path.join(nativeRoot, 'build'), { TENSORRT_INCLUDE_DIR: headers })
console.log('built native/build/Release/turbo_pi.node')
const nvcc = findNvcc()
if (nvcc) {
  compileKernels(nvcc, path.join(nativeRoot, 'build/Release/kernels.fatbin'))
  console.log('built native/build/Release/kernels.fatbin')
} else {
  console.log(
    'no nvcc here: the CUDA kernels were not built; --runtime cuda needs kernels.fatbin beside the addon',
  )
}
