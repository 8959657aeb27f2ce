import { damaged, parseObject } from './damage.js'
import type { KeyValues } from './key-values.js'
import type { ZarrArray } from './zarr-array.js'
import { readZarr2 } from './zarr2.js'
import { readZarr3 } from './zarr3.js'

/** Reads an array's metadata: `.zarray` (zarr v2) or `zarr.json` (v3). Throws CHECKPOINT_INVALID when there is neither. */
export function readZarrArray(store: KeyValues, name: string): ZarrArray {
  for (const [file, read] of [
    ['.zarray', readZarr2],
    ['zarr.json', readZarr3],
  ] as const) {
    const blob = store.get(`${name}/${file}`)
    if (!blob) continue
    const path = `${store.pathOf(name)}, array ${name}`
    return read(parseObject(path, Buffer.from(blob.read(0, blob.byteLength)).toString()), path)
  }
  throw damaged(
    store.pathOf(name),
    `_METADATA lists the array ${name}, which is not stored. The checkpoint is incomplete: copy all of it again.`,
  )
}
