import { reasonOf } from '../../errors.js'
import type { Remote } from '../../storage/downloads.js'
import { failed, type RemoteFile, refusal } from './remote-file.js'

/** What a source holds. */
export interface Listing {
  files: readonly RemoteFile[]
  headers: Readonly<Record<string, string>>
  /** Under what terms, for the reader. */
  licence: string
  /** Commit of a repository on Hugging Face. */
  commit?: string
}

type Environment = Readonly<Record<string, string | undefined>>

/** Lists what is to be downloaded. Throws DOWNLOAD_FAILED. */
export const listRemote = (remote: Remote, env: Environment = process.env): Promise<Listing> =>
  remote.kind === 'hub' ? listRepository(remote, env) : listBucket(remote, env)

async function readAnswer<T>(url: string, headers: Readonly<Record<string, string>>): Promise<T> {
  let response: Response
  try {
    response = await fetch(url, { headers })
  } catch (error) {
    throw failed(`${url}: ${reasonOf(error)}.\nCheck the connection.`)
  }
  if (!response.ok) throw refusal(url, response.status)
  return (await response.json()) as T
}

interface Repository {
  sha: string
  siblings: { rfilename: string; size: number; blobId: string; lfs?: { sha256: string; size: number } }[]
  cardData?: { license?: string }
}

async function listRepository(
  { id, revision }: Remote & { kind: 'hub' },
  env: Environment,
): Promise<Listing> {
  const endpoint = env['HF_ENDPOINT'] || 'https://huggingface.co'
  const headers: Record<string, string> = env['HF_TOKEN']
    ? { authorization: `Bearer ${env['HF_TOKEN']}` }
    : {}
  const { sha, siblings, cardData } = await readAnswer<Repository>(
    `${endpoint}/api/models/${id}/revision/${encodeURIComponent(revision)}?blobs=true`,
    headers,
  )
  const files = siblings.map(
    ({ rfilename, size, blobId, lfs }): RemoteFile => ({
      url: `${endpoint}/${id}/resolve/${sha}/${rfilename.split('/').map(encodeURIComponent).join('/')}`,
      path: rfilename,
      size: lfs?.size ?? size,
      digest: lfs ? { kind: 'sha256', value: lfs.sha256 } : { kind: 'git', value: blobId },
    }),
  )
  return {
    files: checkPaths(files),
    headers,
    commit: sha,
    licence: `${cardData?.license ?? 'not stated'}, as its card says: ${endpoint}/${id}`,
  }
}

interface Objects {
  items?: { name: string; size: string; crc32c: string }[]
  nextPageToken?: string
}

async function listBucket({ bucket, path }: Remote & { kind: 'bucket' }, env: Environment): Promise<Listing> {
  const endpoint = env['STORAGE_EMULATOR_HOST'] || 'https://storage.googleapis.com'
  const base = `${endpoint}/storage/v1/b/${bucket}/o`
  const files: RemoteFile[] = []
  for (let token: string | undefined = ''; token !== undefined; ) {
    const query: URLSearchParams = new URLSearchParams({ prefix: path, ...(token && { pageToken: token }) })
    const { items = [], nextPageToken }: Objects = await readAnswer<Objects>(`${base}?${query}`, {})
    for (const { name, size, crc32c } of items)
      if ((name === path || name.startsWith(`${path}/`)) && !name.endsWith('/'))
        files.push({
          url: `${base}/${encodeURIComponent(name)}?alt=media`,
          path: name.slice(path.length + 1),
          size: Number(size),
          digest: { kind: 'crc32c', value: crc32c },
        })
    token = nextPageToken
  }
  if (files.length === 0) throw failed(`gs://${bucket}/${path}: there is nothing.\nCheck the name.`)
  return {
    files: checkPaths(files),
    headers: {},
    licence: 'PaliGemma and what was trained from it: Gemma Terms of Use, https://ai.google.dev/gemma/terms',
  }
}

/** Names come from elsewhere: none may lead out of the folder. */
function checkPaths(files: readonly RemoteFile[]): readonly RemoteFile[] {
  for (const { path, url } of files)
    if (path.startsWith('/') || path.split(/[/\\]/).some(part => part === '..' || part === '.'))
      throw failed(`${url}: the name ${path} leads out of its folder.\nDo not use this source.`)
  return files
}
