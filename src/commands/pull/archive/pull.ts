import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { reasonOf, TurboPiError } from '../../../errors.js'
import { sha256 } from '../../../storage/content.js'
import type { Remote } from '../../../storage/downloads.js'
import { makeDirectory } from '../../../storage/make-directory.js'
import type { Progress } from '../../../storage/tensor-source.js'
import { type Access, ask, downloadFile, failed, refusal } from '../remote-file.js'
import { requireSpace } from '../space.js'
import { checkEntries, type Entry } from './entries.js'
import { tarEntries, unpackTar } from './tar.js'
import { unpackZip, zipEntries } from './zip.js'

type Archive = Remote & { kind: 'archive' }

const ACCESS: Access = {
  headers: {},
  ifRefused:
    'The link may have expired or need a sign-in: get another, or download it in a browser and unpack it.',
}

/**
 * Downloads an archive, unpacks it beside `place` and puts it there all at once: what it holds, or the inside of the one
 * folder that it holds. Nothing is unpacked of an archive that is damaged or made to do harm. Throws DOWNLOAD_FAILED.
 */
export async function pullArchive(
  { url, format }: Archive,
  place: string,
  expected: string | undefined,
  onProgress: Progress,
): Promise<void> {
  const { size, version } = await describe(url)
  const archive = `${place}.${sha256(`${version} ${expected ?? ''}`).slice(0, 12)}.archive`
  dropOthers(archive, place)
  const there = [archive, `${archive}.incomplete`].map(bytesOf).reduce((a, b) => a + b)
  // What is packed is at least as large unpacked.
  requireSpace(dirname(place), 2 * size - there)
  if (!existsSync(archive)) {
    let done = 0
    const digest = expected === undefined ? undefined : ({ kind: 'sha256', value: expected } as const)
    await downloadFile({ url, path: '', size, ...(digest && { digest }) }, archive, ACCESS, count => {
      done += count
      onProgress(done, size)
    })
  }
  const folder = `${place}.partial`
  rmSync(folder, { recursive: true, force: true })
  await unpack(archive, format, folder, url)
  const [only, ...more] = readdirSync(folder, { withFileTypes: true })
  renameSync(more.length === 0 && only!.isDirectory() ? join(folder, only!.name) : folder, place)
  for (const path of [folder, archive]) rmSync(path, { recursive: true, force: true })
}

const bytesOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0

/** How large a file elsewhere is, and which of its versions. Some servers answer no HEAD, and signed addresses none. */
async function describe(url: string): Promise<{ size: number; version: string }> {
  let response: Response
  try {
    response = await ask(url, ACCESS, { range: 'bytes=0-0' })
    await response.body?.cancel()
  } catch (error) {
    throw failed(`${url}: ${reasonOf(error)}.\nCheck the connection.`)
  }
  const { status, headers } = response
  if (!response.ok) throw refusal(url, status, ACCESS)
  if (url.startsWith('https:') && response.url.startsWith('http:'))
    throw failed(
      `${url}: leads to ${response.url}, which anybody on the way can change.\nAsk for another address.`,
    )
  const length = status === 206 ? headers.get('content-range')?.split('/')[1] : headers.get('content-length')
  const size = Number(length ?? Number.NaN)
  if (!Number.isSafeInteger(size) || size <= 0)
    throw failed(
      `${url}: the server does not say how many bytes it has, so that a cut could not be told from its end.\nDownload it with another program, unpack it, and give the folder.`,
    )
  return { size, version: `${headers.get('etag') ?? headers.get('last-modified') ?? ''} ${size}` }
}

/** Parts of other versions of the same archive: they are never gone on with. */
function dropOthers(archive: string, place: string): void {
  const folder = dirname(place)
  makeDirectory(folder)
  for (const name of readdirSync(folder))
    if (/\.[0-9a-f]{12}\.archive(\.incomplete)?$/.test(name) && name.startsWith(`${basename(place)}.`))
      if (!name.startsWith(basename(archive))) rmSync(join(folder, name))
}

async function unpack(
  archive: string,
  format: Archive['format'],
  folder: string,
  url: string,
): Promise<void> {
  const [list, extract] = format === 'zip' ? [zipEntries, unpackZip] : [tarEntries, unpackTar]
  let room = false
  try {
    const entries: Entry[] = await list(archive)
    requireSpace(
      dirname(folder),
      entries.reduce((sum, { size }) => sum + size, 0),
      'what is in the archive',
    )
    room = true
    checkEntries(entries, bytesOf(archive), url)
    mkdirSync(folder)
    await extract(archive, folder)
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    if (room || !(error instanceof TurboPiError)) rmSync(archive)
    if (error instanceof TurboPiError) throw error
    throw failed(
      `${url}: ${reasonOf(error)}: no ${format} archive, or a damaged one.\nWhat came was thrown away: check the address in a browser, then run the same command again.`,
    )
  }
}
