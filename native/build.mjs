/** npm run build:native: compiles the addon to native/build/Release/turbo_pi.node. */
import { existsSync } from 'node:fs'
import path from 'node:path'
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
