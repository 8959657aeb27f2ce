import { reasonOf } from '../../errors.js'
import type { Remote } from '../../storage/downloads.js'
import { type Access, ask, failed, type RemoteFile, refusal } from './remote-file.js'

/** What a source holds. */
export interface Listing {
  files: readonly RemoteFile[]
  access: Access
  /** Under what terms, for the reader. */
  licence: string
  /** Commit of a repository on Hugging Face. */
  commit?: string
}

type Listed = Exclude<Remote, { kind: 'archive' }>
type Environment = Readonly<Record<string, string | undefined>>

/** Lists what is to be downloaded. Throws DOWNLOAD_FAILED. */
export const listRemote = (remote: Listed, env: Environment = process.env): Promise<Listing> =>
  remote.kind === 'hub' ? listRepository(remote, env) : listBucket(remote, env)

async function readAnswer<T>(url: string, access: Access): Promise<T> {
  let response: Response
  try {
    response = await ask(url, access)
  } catch (error) {
    throw failed(`${url}: ${reasonOf(error)}.\nCheck the connection.`)
  }
  if (!response.ok) throw refusal(url, response.status, access)
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
  const access: Access = {
    headers: env['HF_TOKEN'] ? { authorization: `Bearer ${env['HF_TOKEN']}` } : {},
    ifRefused: 'Accept its licence on its page and set HF_TOKEN to a token that may read it.',
  }
  const { sha, siblings, cardData } = await readAnswer<Repository>(
    `${endpoint}/api/models/${id}/revision/${encodeURIComponent(revision)}?blobs=true`,
    access,
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
    access,
    commit: sha,
    licence: `${cardData?.license ?? 'not stated'}, as its card says: ${endpoint}/${id}`,
  }
}

interface Objects {
  items?: { name: string; size: string; crc32c: string }[]
  nextPageToken?: string
}

const PUBLIC: Access = {
  headers: {},
  ifRefused: 'Only public buckets are read here: copy it with "gcloud storage cp" and give the folder.',
}

async function listBucket({ bucket, path }: Remote & { kind: 'bucket' }, env: Environment): Promise<Listing> {
  const endpoint = env['STORAGE_EMULATOR_HOST'] || 'https://storage.googleapis.com'
  const base = `${endpoint}/storage/v1/b/${bucket}/o`
  const files: RemoteFile[] = []
  for (let token: string | undefined = ''; token !== undefined; ) {
    const query: URLSearchParams = new URLSearchParams({ prefix: path, ...(token && { pageToken: token }) })
    const { items = [], nextPageToken }: Objects = await readAnswer<Objects>(`${base}?${query}`, PUBLIC)
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
    access: PUBLIC,
    licence: 'PaliGemma and what was trained from it: Gemma Terms of Use, https://ai.google.dev/gemma/terms',
  }
}

/** Names and digests come from elsewhere: none may lead out of the folder. */
function checkPaths(files: readonly RemoteFile[]): readonly RemoteFile[] {
  for (const { path, url, digest } of files)
    if (digest && /[^\w+/=]/.test(digest.value))
      throw failed(`${url}: its checksum is ${JSON.stringify(digest.value)}.\nDo not use this source.`)
    else if (path.startsWith('/') || path.split(/[/\\]/).some(part => part === '..' || part === '.'))
      throw failed(`${url}: the name ${path} leads out of its folder.\nDo not use this source.`)
  return files
}
