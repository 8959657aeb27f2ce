import { TurboPiError } from '../../errors.js'
import type { EngineName } from '../gpu/addon.js'

/** Characters of TensorRT's own words that are passed on: of a graph's node it can say kilobytes. */
const MOST_SAID = 400

/** A library of TensorRT's that its own loader did not find, and the major version in its name. */
const MISSING_LIBRARY =
  /\b(libnv\w+\.so\.(\d+)[.\d]*)\b(?=[^\n]*(?:cannot open shared object|no such file))|unable to load library:? (libnv\w+\.so\.?(\d*)[.\d]*)/i

/**
 * Why an engine could not be built. RUNTIME_UNAVAILABLE where TensorRT itself is not whole, which no other setting mends;
 * RUNTIME_FAILED with the reason, said once and on one line, otherwise.
 */
export function buildFailure(graph: EngineName, said: string): TurboPiError {
  const [, named, version, loaded, loadedVersion] = MISSING_LIBRARY.exec(said) ?? []
  const library = named ?? loaded
  if (library)
    return new TurboPiError(
      'RUNTIME_UNAVAILABLE',
      `TensorRT is not installed whole: ${library}, which it builds engines with on this card, is not found. It comes with ${packageOf(version ?? loadedVersion)} of NVIDIA's apt repository, in lib/ of its TensorRT archive, and in tensorrt-cu…-libs for pip, all of the version that is here. --runtime cuda needs none of it.`,
    )
  return new TurboPiError(
    'RUNTIME_FAILED',
    `TensorRT could not build ${graph}: ${bounded(plain(graph, said))}`,
  )
}

const packageOf = (major: string | undefined) => (major ? `libnvinfer${major}` : 'libnvinfer')

/** On one line, without the prefix that the addon has put before it. */
function plain(graph: EngineName, said: string): string {
  const prefix = `TensorRT could not build ${graph}:`
  let text = said.replace(/\s+/g, ' ').trim()
  while (text.startsWith(prefix)) text = text.slice(prefix.length).trim()
  return text
}

const bounded = (text: string) => (text.length > MOST_SAID ? `${text.slice(0, MOST_SAID)}…` : text)
