import { existsSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { usage as usageOf } from '../../settings/arguments.js'
import { directory, text } from '../../settings/kinds.js'
import {
  cachedDirectory,
  openpiCache,
  parseRemote,
  placeOf,
  type Remote,
  repositoryFolder,
} from '../../storage/downloads.js'
import { makeDirectory } from '../../storage/make-directory.js'
import { bytesProgress } from '../kit/bytes-progress.js'
import { type Call, command as define } from '../kit/command.js'
import { pullArchive } from './archive/pull.js'
import { type Listing, listRemote } from './listing.js'
import { downloadFile, failed, type RemoteFile } from './remote-file.js'
import { requireSpace } from './space.js'

const OPTIONS = {
  to: directory({ meaning: 'a folder of its own instead of the cache' }),
  sha256: text({
    takes: 'HEX',
    meaning: 'checksum of an archive; the other sources state their files’ themselves',
  }),
}

export const command = define(
  {
    name: 'pull',
    forms: ['SOURCE [--to DIR] [--sha256 HEX]'],
    about: `
Downloads a checkpoint into the caches that Hugging Face's clients and openpi use, so that nothing is there twice, and prints
where it lies; --policy takes the same SOURCE. A download that was cut goes on where it was when it is run again.

  SOURCE
    owner/name, hf://owner/name[@revision]   a repository on Hugging Face; HF_TOKEN for those behind a licence
    gs://bucket/path                         a folder of a public bucket, such as gs://openpi-assets/checkpoints/pi05_libero
    https://host/path.tar|tar.gz|tgz|zip     an archive, which is unpacked
    tokenizer                                PaliGemma's tokenizer`,
    positionals: { least: 1, most: 1, what: 'one source', offers: ['tokenizer'] },
    options: OPTIONS,
    settings: {},
  },
  download,
)

const TOKENIZER = 'gs://big_vision/paligemma_tokenizer.model'

const usage = (detail: string) => usageOf('pull', detail)

/** Downloads a source and prints its path. */
async function download({ own, positionals }: Call<typeof OPTIONS>): Promise<number> {
  const given = positionals[0]!
  const source = given === 'tokenizer' ? TOKENIZER : given
  const remote = parseRemote(source)
  if (!remote) throw usage(`pull takes one source, got ${JSON.stringify(positionals)}.`)
  const sha256 = own.sha256?.toLowerCase()
  if (sha256 !== undefined && !/^[0-9a-f]{64}$/.test(sha256))
    throw usage(`--sha256 takes 64 hexadecimal digits, got ${JSON.stringify(own.sha256)}.`)
  if (sha256 !== undefined && remote.kind !== 'archive')
    throw usage(
      '--sha256 is for an archive: the other sources state the checksums of their files themselves.',
    )
  console.log(await pull(source, remote, own.to, sha256))
  return 0
}

async function pull(
  source: string,
  remote: Remote,
  to: string | undefined,
  sha256: string | undefined,
): Promise<string> {
  const target = to === undefined ? undefined : resolve(to)
  if (target && existsSync(target)) throw failed(`${target} is there already.\nGive a folder that is not.`)
  // A branch may have moved on; what lies in a bucket or an archive does not.
  const cached = to === undefined && remote.kind !== 'hub' ? cachedDirectory(source) : undefined
  if (cached) return cached
  const place = target ?? (remote.kind === 'hub' ? undefined : join(openpiCache(), placeOf(remote)))
  if (remote.kind === 'archive') {
    console.error('Licence: not stated; see where you have the address from')
    await pullArchive(remote, place!, sha256, bytesProgress('Downloading'))
    return place!
  }
  const listing = await listRemote(remote)
  console.error(`Licence: ${listing.licence}`)
  if (place === undefined) return intoHubCache(remote as Remote & { kind: 'hub' }, listing)
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
  const blobOf = ({ digest }: RemoteFile) => join(folder, 'blobs', digest!.value)
  await downloadAll(listing, blobOf)
  const snapshot = join(folder, 'snapshots', commit)
  const gathered = `${snapshot}.partial`
  rmSync(gathered, { recursive: true, force: true })
  for (const file of listing.files) {
    const link = join(gathered, file.path)
    makeDirectory(dirname(link))
    symlinkSync(relative(dirname(link), blobOf(file)), link)
  }
  rmSync(snapshot, { recursive: true, force: true })
  renameSync(gathered, snapshot)
  if (revision !== commit) {
    makeDirectory(dirname(join(folder, 'refs', revision)))
    writeFileSync(join(folder, 'refs', revision), commit)
  }
  return snapshot
}

async function downloadAll({ files, access }: Listing, pathOf: (file: RemoteFile) => string): Promise<void> {
  // Files of the same content share a place.
  const byPlace = new Map(files.map(file => [pathOf(file), file]))
  const missing = [...byPlace.values()].filter(file => !existsSync(pathOf(file)))
  const total = missing.reduce((sum, { size }) => sum + size, 0)
  const there = missing
    .map(file => statSync(`${pathOf(file)}.incomplete`, { throwIfNoEntry: false })?.size ?? 0)
    .reduce((sum, size) => sum + size, 0)
  requireSpace(dirname(pathOf(files[0]!)), total - there)
  const progress = bytesProgress('Downloading')
  let done = 0
  for (const file of missing)
    await downloadFile(file, pathOf(file), access, count => {
      done += count
      progress(done, total)
    })
}
