import { spawnSync } from 'node:child_process'

/** Why no file system can be mounted here for a server alone; undefined when one can. */
export function canMount(): string | undefined {
  const { status } = spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'none', '/mnt'])
  return status === 0 ? undefined : 'unshare -rm, to mount file systems'
}
