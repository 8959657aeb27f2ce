import { existsSync } from 'node:fs'
import { reasonOf, TurboPiError } from '../errors.js'

export type { InferenceSession, Tensor } from 'onnxruntime-common'

const NAME = 'onnxruntime-node'
/** Where `npm pack` puts ONNX Runtime (tools/pack-onnxruntime.mjs); a checkout has nothing there. */
const PACKED = new URL('../onnxruntime/', import.meta.url)

/**
 * The module to import: the copy in the package where that has binaries for this platform, else onnxruntime-node beside
 * it. Throws RUNTIME_UNAVAILABLE where neither is.
 */
export function locateOnnxRuntime(
  platform = `${process.platform}/${process.arch}`,
  packed = PACKED,
  resolve = import.meta.resolve,
): string {
  if (existsSync(new URL(`bin/napi-v6/${platform}`, packed))) return new URL('dist/index.js', packed).href
  try {
    return resolve(NAME)
  } catch (error) {
    throw new TurboPiError(
      'RUNTIME_UNAVAILABLE',
      `The package brings ONNX Runtime for linux/x64 and linux/arm64, and this is ${platform}: on macOS with Apple silicon, npm install ${NAME} puts it beside; elsewhere use a container.`,
      { cause: error },
    )
  }
}

/** Loads the library, which takes its thread while it runs: for worker threads alone. Throws RUNTIME_UNAVAILABLE. */
export async function loadOnnxRuntime(): Promise<typeof import('onnxruntime-common')> {
  const library = locateOnnxRuntime()
  try {
    return halvesAsBits((await import(library)) as typeof import('onnxruntime-common'))
  } catch (error) {
    throw new TurboPiError(
      'RUNTIME_UNAVAILABLE',
      `ONNX Runtime could not be loaded (${library}): ${reasonOf(error)}. It needs glibc 2.28 or macOS 14, or newer; Alpine's musl is not enough.`,
      { cause: error },
    )
  }
}

/**
 * Float16 tensors hold their bits in a Uint16Array, on every Node.js. With a global Float16Array (Node.js 24) they would hold
 * one, which the native binding of ONNX Runtime 1.30 refuses. The library looks for it once, when it makes its first tensor.
 */
function halvesAsBits<Library extends typeof import('onnxruntime-common')>(library: Library): Library {
  const found = Object.getOwnPropertyDescriptor(globalThis, 'Float16Array')
  if (!found) return library
  Reflect.deleteProperty(globalThis, 'Float16Array')
  new library.Tensor('bool', [true])
  Object.defineProperty(globalThis, 'Float16Array', found)
  return library
}
