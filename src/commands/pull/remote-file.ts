import { createHash, type Hash } from 'node:crypto'
import { createReadStream, existsSync, renameSync, rmSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { reasonOf, TurboPiError } from '../../errors.js'
import { makeDirectory } from '../../storage/make-directory.js'
import { crc32c } from '../../storage/orbax/crc32c.js'

/** A file elsewhere, and what its bytes must be. */
export interface RemoteFile {
  url: string
  /** Path below the folder that is downloaded. */
  path: string
  size: number
  /** Absent where nobody states one. */
  digest?: { kind: 'sha256' | 'git' | 'crc32c'; value: string }
}

/** How a source is asked. */
export interface Access {
  headers: Readonly<Record<string, string>>
  /** What to do where it refuses (401, 403): a sentence. */
  ifRefused: string
}

/** Tries in a row that bring not one byte, and the wait before the second of them; it doubles. */
const MAX_TRIES = 5
const FIRST_WAIT_MS = 250

export const failed = (detail: string) => new TurboPiError('DOWNLOAD_FAILED', detail)

/** Sizes and digests are those of the bytes as they lie there. */
const AS_STORED = { 'accept-encoding': 'identity' }

/** Asks for a whole file, a list, or a range. Throws an Error that says why there is no answer. */
export async function ask(
  url: string,
  { headers }: Access,
  more: Readonly<Record<string, string>> = {},
): Promise<Response> {
  try {
    return await fetch(url, { headers: { ...AS_STORED, ...headers, ...more } })
  } catch (error) {
    // fetch itself says that it failed; what is behind it says why.
    const { cause } = error as Error & { cause?: Error & { code?: string } }
    throw cause ? new Error(cause.message || cause.code, { cause }) : error
  }
}

/** What the server's refusal means, and what to do. */
export function refusal(url: string, status: number, { ifRefused }: Access): TurboPiError {
  if (status === 401 || status === 403)
    return failed(`${url}: access was refused (status ${status}).\n${ifRefused}`)
  if (status === 404)
    return failed(`${url}: there is no such repository, revision or file (status 404).\nCheck the name.`)
  return failed(`${url}: the server answered with status ${status}.\nTry again later.`)
}

/**
 * Downloads a file to `target`, going on where an earlier try was cut. Bytes gather in `target`.incomplete; the file gets its
 * name when its size and its checksum are right. Throws DOWNLOAD_FAILED.
 */
export async function downloadFile(
  file: RemoteFile,
  target: string,
  access: Access,
  onBytes: (count: number) => void,
): Promise<void> {
  const partial = `${target}.incomplete`
  makeDirectory(dirname(target))
  if (existsSync(partial) && statSync(partial).size > file.size) rmSync(partial)
  onBytes(sizeOf(partial))
  let wait = FIRST_WAIT_MS
  for (let tries = 0; sizeOf(partial) < file.size || !existsSync(partial); ) {
    const before = sizeOf(partial)
    const cut = await append(file, partial, access, onBytes)
    tries = sizeOf(partial) > before ? 0 : tries + 1
    if (tries === 0) wait = FIRST_WAIT_MS
    if (tries === MAX_TRIES)
      throw failed(
        `${file.url}: ${cut ?? 'no bytes came'}.\nRun the same command again: it goes on where it was cut.`,
      )
    if (tries > 0) {
      await setTimeout(wait)
      wait *= 2
    }
  }
  if (file.digest) {
    const { kind, value } = file.digest
    const digest = await digestOf(partial, kind, file.size)
    if (digest !== value) {
      rmSync(partial)
      throw failed(
        `${file.url}: its ${kind} checksum is ${digest}, expected ${value}.\nWhat came was thrown away: run the same command again.`,
      )
    }
  }
  renameSync(partial, target)
}

const sizeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0

/** One try. Gives why it ended early; throws for an answer that no later try would change. */
async function append(
  { url, size }: RemoteFile,
  partial: string,
  access: Access,
  onBytes: (count: number) => void,
): Promise<string | undefined> {
  const start = sizeOf(partial)
  let response: Response
  try {
    response = await ask(url, access, start > 0 ? { range: `bytes=${start}-` } : {})
  } catch (error) {
    return reasonOf(error)
  }
  if (response.status >= 500 || response.status === 429) return `status ${response.status}`
  if (!response.ok || !response.body) throw refusal(url, response.status, access)
  // A server without ranges sends the whole file again.
  const from = response.status === 206 ? start : 0
  if (from !== start) onBytes(-start)
  const handle = await open(partial, from === 0 ? 'w' : 'a')
  let done = from
  try {
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      if (done + chunk.byteLength > size)
        throw failed(`${url}: more than its ${size} bytes came.\nTry again.`)
      await handle.writeFile(chunk)
      done += chunk.byteLength
      onBytes(chunk.byteLength)
    }
    return undefined
  } catch (error) {
    if (error instanceof TurboPiError) {
      rmSync(partial)
      throw error
    }
    return reasonOf(error)
  } finally {
    await handle.close()
  }
}

type DigestKind = NonNullable<RemoteFile['digest']>['kind']

async function digestOf(path: string, kind: DigestKind, size: number): Promise<string> {
  const hash: Hash | undefined =
    kind === 'crc32c' ? undefined : createHash(kind === 'git' ? 'sha1' : 'sha256')
  // The id that Git gives to a file's content.
  if (kind === 'git') hash?.update(`blob ${size}\0`)
  let crc = 0
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) {
    if (hash) hash.update(chunk)
    else crc = crc32c(chunk, crc)
  }
  if (hash) return hash.digest('hex')
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(crc)
  return bytes.toString('base64')
}
