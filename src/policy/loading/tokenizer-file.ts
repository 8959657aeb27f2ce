import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { TurboPiError } from '../../errors.js'
import { cachedSnapshot, huggingFaceCache, openpiCache } from '../../storage/downloads.js'
import type { PolicyDirectory } from './directory.js'
import { fileInside } from './files.js'

const FILES = ['paligemma_tokenizer.model', 'tokenizer.model', 'tokenizer.json']
/** Where openpi and LeRobot take PaliGemma's tokenizer from. */
const OPENPI_FILE = 'big_vision/paligemma_tokenizer.model'
const REPOSITORY = 'google/paligemma-3b-pt-224'

/**
 * The tokenizer that the caller or the manifest names; else the directory's own, or PaliGemma's from the caches of openpi
 * and Hugging Face. Throws TOKENIZER_INVALID when there is none.
 */
export function tokenizerPath(
  { directory, manifest }: PolicyDirectory,
  options: { readonly tokenizer?: string },
): string {
  if (options.tokenizer) return resolve(options.tokenizer)
  if (manifest?.tokenizer) return fileInside(directory, manifest.tokenizer, 'policy.json: tokenizer')
  const cached = join(openpiCache(), OPENPI_FILE)
  const snapshot = cachedSnapshot(REPOSITORY)
  const places = [
    ...[directory, join(directory, 'tokenizer')].flatMap(folder => FILES.map(file => join(folder, file))),
    cached,
    ...(snapshot ? FILES.map(file => join(snapshot, file)) : []),
  ]
  const path = places.find(existsSync)
  if (path) return path
  throw new TurboPiError(
    'TOKENIZER_INVALID',
    `${directory} has no tokenizer (${FILES.join(', ')}, there or in tokenizer/; nor ${cached}; nor ${REPOSITORY} in ${huggingFaceCache()}): give PaliGemma's with --tokenizer.\n` +
      'To get it run: turbo-pi pull tokenizer',
  )
}
