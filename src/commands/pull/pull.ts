import {
  existsSync,
  mkdirSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { TurboPiError } from '../../errors.js'
import {
  cachedDirectory,
  openpiCache,
  parseRemote,
  type Remote,
  repositoryFolder,
} from '../../storage/downloads.js'
import { bytesProgress } from '../kit/bytes-progress.js'
import { readOptions, text } from '../kit/options.js'
import { type Listing, listRemote } from './listing.js'
import { downloadFile, failed, type RemoteFile } from './remote-file.js'

export const help = `turbo-pi pull SOURCE [--to DIR]

Downloads a checkpoint into the caches that Hugging Face's clients and openpi use, so that nothing is there twice, and prints
where it lies; --policy takes the same SOURCE. A download that was cut goes on where it was when it is run again.

  SOURCE
    owner/name, hf://owner/name[@revision]   a repository on Hugging Face; HF_TOKEN for those behind a licence
    gs://bucket/path                         a folder of a public bucket, such as gs://openpi-assets/checkpoints/pi05_libero
    tokenizer                                PaliGemma's tokenizer

  --to DIR            a folder of its own instead of the cache`

const OPTIONS = { to: text() }
const TOKENIZER = 'gs://big_vision/paligemma_tokenizer.model'

/** Downloads a source and prints its path. */
export async function run(argv: string[]): Promise<number> {
  const { own, positionals } = readOptions(argv, OPTIONS, help, { allowPositionals: true })
  const [given = '', ...more] = positionals
  const source = given === 'tokenizer' ? TOKENIZER : given
  const remote = parseRemote(source)
  if (!remote || more.length > 0)
    throw new TurboPiError(
      'CONFIG_INVALID',
      `pull takes one source, got ${JSON.stringify(positionals)}.\n\n${help}`,
    )
  console.log(await pull(source, remote, own.to))
  return 0
}

async function pull(source: string, remote: Remote, to: string | undefined): Promise<string> {
  const target = to === undefined ? undefined : resolve(to)
  if (target && existsSync(target)) throw failed(`${target} is there already.\nGive a folder that is not.`)
  // A branch may have moved on; what lies in a bucket does not.
  const cached = to === undefined && remote.kind === 'bucket' ? cachedDirectory(source) : undefined
  if (cached) return cached
  const listing = await listRemote(remote)
  console.error(`Licence: ${listing.licence}`)
  if (remote.kind === 'hub' && target === undefined) return intoHubCache(remote, listing)
  const place =
    target ?? join(openpiCache(), ...(remote.kind === 'bucket' ? [remote.bucket, remote.path] : [remote.id]))
  await intoFolder(listing, place)
  return place
}

/** Gathers files beside their place, which they take all at once. */
async function intoFolder(listing: Listing, place: string): Promise<void> {
  const gathered = `${place}.partial`
  // A single file has no path below the one that was asked for.
  await downloadAll(listing, ({ path }) => (path === '' ? gathered : join(gathered, path)))
  renameSync(gathered, place)
}

/** Blobs by their checksum, a snapshot of links to them, and the branch's commit, as Hugging Face's clients keep them. */
async function intoHubCache({ id, revision }: Remote & { kind: 'hub' }, listing: Listing): Promise<string> {
  const folder = repositoryFolder(id)
  const commit = listing.commit!
  const blobOf = ({ digest }: RemoteFile) => join(folder, 'blobs', digest.value)
  await downloadAll(listing, blobOf)
  const snapshot = join(folder, 'snapshots', commit)
  const gathered = `${snapshot}.partial`
  rmSync(gathered, { recursive: true, force: true })
  for (const file of listing.files) {
    const link = join(gathered, file.path)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(relative(dirname(link), blobOf(file)), link)
  }
  rmSync(snapshot, { recursive: true, force: true })
  renameSync(gathered, snapshot)
  if (revision !== commit) {
    mkdirSync(dirname(join(folder, 'refs', revision)), { recursive: true })
    writeFileSync(join(folder, 'refs', revision), commit)
  }
  return snapshot
}

async function downloadAll(
  { files, headers }: Listing,
  placeOf: (file: RemoteFile) => string,
): Promise<void> {
  // Files of the same content share a place.
  const byPlace = new Map(files.map(file => [placeOf(file), file]))
  const missing = [...byPlace.values()].filter(file => !existsSync(placeOf(file)))
  const total = missing.reduce((sum, { size }) => sum + size, 0)
  const there = missing
    .map(file => statSync(`${placeOf(file)}.incomplete`, { throwIfNoEntry: false })?.size ?? 0)
    .reduce((sum, size) => sum + size, 0)
  requireSpace(placeOf(files[0]!), total - there)
  const progress = bytesProgress('Downloading')
  let done = 0
  for (const file of missing)
    await downloadFile(file, placeOf(file), headers, count => {
      done += count
      progress(done, total)
    })
}

function requireSpace(path: string, needed: number): void {
  const folder = dirname(path)
  mkdirSync(folder, { recursive: true })
  const { bavail, bsize } = statfsSync(folder)
  if (needed > bavail * bsize)
    throw failed(
      `${folder} has ${bavail * bsize} bytes free, the download needs ${needed}.\nMake room, or name another place with --to.`,
    )
}
