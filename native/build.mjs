/** npm run build:native: compiles the addon to native/build/Release/turbo_pi.node. */
import path from 'node:path'
import { compileAddon, nativeRoot, requireCompiler } from './tools.mjs'

requireCompiler('npm run build:native')
const headers = process.env.TENSORRT_INCLUDE_DIR
compileAddon(path.join(nativeRoot, 'build'), headers === undefined ? {} : { TENSORRT_INCLUDE_DIR: headers })
console.log('built native/build/Release/turbo_pi.node')
