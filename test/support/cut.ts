import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** Cuts a connection once the client has written so many bytes to its unfinished file, however busy the machine is. */
export function cutWhenWritten(folder: string, bytes: number, cut: () => void): void {
  const unfinished = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('.incomplete'))
    .map(name => statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0)
  if (bytes === 0 || unfinished.some(size => size >= bytes)) cut()
  else setTimeout(() => cutWhenWritten(folder, bytes, cut), 10)
}
