import { readFileSync, renameSync, type StatOptions, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { reasonOf, TurboPiError } from '../errors.js'
import { type Content, type ReadContent, sha256 } from './content.js'
import { type Digesting, digestFiles, type OnPiece } from './digest.js'
import { makeDirectory } from './make-directory.js'

/*
 * What checkpoints hold, as far as it was read, beside the cache: a shortcut that spares reading a checkpoint again. A file
 * counts as unchanged while its size, inode, and times of writing and of change are the same. A program can set the time of
 * writing back, but not that of change (ctime). Whatever does not agree costs a read, never a wrong answer.
 */

/** What says that a file is the one that was read. */
interface Stamp {
  path: string
  size: string
  mtime: string
  ctime: string
  inode: string
}

type Stamps = readonly Stamp[]

interface KnownContent extends ReadContent {
  stamps: Stamps
}

/** File systems keep times as coarse as this; a file changed within it may be changed again without a trace. */
const COARSEST_TIME_MS = 2000

const EXACT = { bigint: true } as const satisfies StatOptions

/** Throws when a file cannot be found. */
function stampsOf({ files }: Content): Stamps {
  return files.map(({ path }) => {
    const { size, mtimeNs, ctimeNs, ino } = statSync(path, EXACT)
    return { path, size: `${size}`, mtime: `${mtimeNs}`, ctime: `${ctimeNs}`, inode: `${ino}` }
  })
}

const sameStamps = (a: Stamps, b: Stamps) => JSON.stringify(a) === JSON.stringify(b)

const recordPath = (cache: string, { files, made = '' }: Content) =>
  join(cache, 'contents', `${sha256(JSON.stringify([made, files])).slice(0, 32)}.json`)

/** What the files hold, when they are as they were when they were read. */
export function recall(cache: string, content: Content): ReadContent | undefined {
  try {
    const { stamps, ...known } = JSON.parse(readFileSync(recordPath(cache, content), 'utf8')) as KnownContent
    return sameStamps(stamps, stampsOf(content)) ? known : undefined
  } catch {
    return undefined
  }
}

/** A checkpoint whose content is being read, or known already, while others read the same files. */
export class ContentReading {
  private readonly stamps: Stamps
  private readonly digesting: Digesting | undefined

  /** Begins at once unless the content is `known`; see `digestFiles`. Throws CHECKPOINT_INVALID. */
  constructor(
    private readonly content: Content,
    private readonly known?: ReadContent,
    onPiece?: OnPiece,
  ) {
    try {
      this.stamps = stampsOf(content)
    } catch (error) {
      throw unreadable(error)
    }
    const paths = content.files.map(({ path }) => path)
    this.digesting = known ? undefined : digestFiles(paths, onPiece)
  }

  /** What the files hold. Throws CHECKPOINT_INVALID, also when they were changed since the reading began. */
  async end(): Promise<ReadContent> {
    const read = this.known ?? (await this.read())
    if (sameStamps(this.stamps, stampsOf(this.content))) return read
    throw invalid(`${this.content.files[0]?.path} was changed while it was read; start again`)
  }

  private async read(): Promise<ReadContent> {
    const { files, made } = this.content
    try {
      const digests = await this.digesting!.done
      return {
        files: digests.map((digest, i) => ({ name: files[i]!.name, ...digest })),
        ...(made !== undefined && { made }),
      }
    } catch (error) {
      throw unreadable(error)
    }
  }

  /**
   * Keeps what was read, for `recall`. Files that were changed just now are read again the next time. Throws when the cache
   * cannot be written.
   */
  remember(cache: string, read: ReadContent): void {
    const { stamps, content, known } = this
    const youngest = Math.max(...stamps.map(({ ctime }) => Number(BigInt(ctime) / 1_000_000n)))
    if (known || Date.now() - youngest < COARSEST_TIME_MS) return
    const path = recordPath(cache, content)
    makeDirectory(join(cache, 'contents'))
    writeFileSync(`${path}.${process.pid}`, JSON.stringify({ ...read, stamps } satisfies KnownContent))
    renameSync(`${path}.${process.pid}`, path)
  }

  stop(): void {
    this.digesting?.stop()
  }
}

const invalid = (detail: string) => new TurboPiError('CHECKPOINT_INVALID', detail)

const unreadable = (error: unknown) =>
  error instanceof TurboPiError ? error : invalid(`the checkpoint cannot be read: ${reasonOf(error)}`)
