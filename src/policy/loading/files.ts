import { isAbsolute, relative, resolve, sep } from 'node:path'
import { TurboPiError } from '../../errors.js'

/**
 * A file that a policy's own files name. It lies in the policy's directory, so that a copy of the directory is the whole
 * policy and a downloaded one names nothing else of this machine; links in the directory may lead elsewhere, as those of
 * Hugging Face's cache do. Throws POLICY_INVALID.
 */
export function fileInside(directory: string, file: string, where: string): string {
  const path = resolve(directory, file)
  const way = relative(directory, path)
  if (!isAbsolute(file) && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)) return path
  throw new TurboPiError(
    'POLICY_INVALID',
    `${where} names ${file}, which lies outside the policy's directory.\nCopy the file into ${directory} and name it by its path there.`,
  )
}
