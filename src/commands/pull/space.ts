import { statfsSync } from 'node:fs'
import { makeDirectory } from '../../storage/make-directory.js'
import { failed } from './remote-file.js'

/** That a folder, made when it is not there, has room for so many bytes. Throws DOWNLOAD_FAILED. */
export function requireSpace(folder: string, needed: number, what = 'the download'): void {
  makeDirectory(folder)
  const { bavail, bsize } = statfsSync(folder)
  if (needed > bavail * bsize)
    throw failed(
      `${folder} has ${bavail * bsize} bytes free, ${what} needs ${needed}.\nMake room, or name another place with --to.`,
    )
}
