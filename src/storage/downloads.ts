import { existsSync, readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

type Environment = Readonly<Record<string, string | undefined>>

/** Where openpi keeps what it downloads: `gs://BUCKET/PATH` lies at BUCKET/PATH below. */
export const openpiCache = (env: Environment = process.env): string =>
  env['OPENPI_DATA_HOME'] || join(homedir(), '.cache', 'openpi')

/** Where Hugging Face's clients keep repositories, by the environment variables that they read. */
export function huggingFaceCache(env: Environment = process.env): string {
  const home = env['HF_HOME'] || join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'huggingface')
  return env['HF_HUB_CACHE'] || env['HUGGINGFACE_HUB_CACHE'] || join(home, 'hub')
}

/** The folder of a repository in Hugging Face's cache. */
export const repositoryFolder = (id: string, cache = huggingFaceCache()): string =>
  join(cache, `models--${id.replace('/', '--')}`)

/** The snapshot of a repository in Hugging Face's cache: of a branch, a tag or a commit. Undefined when it is not there. */
export function cachedSnapshot(
  id: string,
  revision = 'main',
  cache = huggingFaceCache(),
): string | undefined {
  const folder = repositoryFolder(id, cache)
  const ref = join(folder, 'refs', revision)
  const commit = existsSync(ref) ? readFileSync(ref, 'utf8').trim() : revision
  const snapshot = join(folder, 'snapshots', commit)
  return existsSync(snapshot) ? snapshot : undefined
}

/**
 * A checkpoint elsewhere: a repository on Hugging Face, a folder or file of a public bucket of Google Cloud Storage, or an
 * archive over HTTPS, whose `path` is its host and path without the ending.
 */
export type Remote =
  | { kind: 'hub'; id: string; revision: string }
  | { kind: 'bucket'; bucket: string; path: string }
  | { kind: 'archive'; url: string; format: 'tar' | 'zip'; path: string }

const HUB = /^(?:hf:\/\/)?([\w-][\w.-]*\/[\w-][\w.-]*)(?:@([\w][\w./-]*))?$/
const BUCKET = /^gs:\/\/([\w.-]+)\/(.+?)\/*$/

const ARCHIVE = /^(.*[^/])\.(tar|tar\.gz|tgz|zip)$/
/** Without encryption only this machine is asked. */
const THIS_MACHINE = new Set(['127.0.0.1', 'localhost', '[::1]'])

/** Reads `hf://owner/name@revision`, `owner/name`, `gs://bucket/path` or `https://….tar`; undefined for anything else. */
export function parseRemote(text: string): Remote | undefined {
  if (/^https?:/.test(text)) return parseArchive(text)
  const [, bucket, path] = BUCKET.exec(text) ?? []
  if (bucket && path && !path.split('/').includes('..')) return { kind: 'bucket', bucket, path }
  const [, id, revision = 'main'] = HUB.exec(text) ?? []
  return id && !revision.includes('..') ? { kind: 'hub', id, revision } : undefined
}

function parseArchive(text: string): Remote | undefined {
  if (!URL.canParse(text)) return undefined
  const { protocol, hostname, host, pathname } = new URL(text)
  const [, path, ending] = ARCHIVE.exec(pathname) ?? []
  if (!path || (protocol === 'http:' && !THIS_MACHINE.has(hostname))) return undefined
  return { kind: 'archive', url: text, format: ending === 'zip' ? 'zip' : 'tar', path: host + path }
}

/** Where a checkpoint elsewhere lies in the caches of this machine; undefined for a path and for what is not there. */
export function cachedDirectory(text: string): string | undefined {
  const remote = statSync(text, { throwIfNoEntry: false }) ? undefined : parseRemote(text)
  if (remote?.kind === 'hub') return cachedSnapshot(remote.id, remote.revision)
  const folder = remote && join(openpiCache(), placeOf(remote))
  return folder && existsSync(folder) ? folder : undefined
}

/** Place below openpi's cache. */
export const placeOf = (remote: Exclude<Remote, { kind: 'hub' }>): string =>
  remote.kind === 'bucket' ? join(remote.bucket, remote.path) : remote.path
