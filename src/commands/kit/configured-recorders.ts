import { resolve } from 'node:path'
import type { FastifyBaseLogger } from 'fastify'
import type { Config } from '../../config.js'
import { Recorder } from '../../recording/recorder.js'
import type { Served } from '../../service/served.js'

/** A recorder for each policy where the settings name a directory for recordings; `log` is asked when there is one. */
export function configuredRecorders(
  config: Config,
  policies: readonly Served[],
  log: () => FastifyBaseLogger,
): Map<Served, Recorder> {
  const { record, recordCameras, recordFileSize, recordFileMinutes, recordMinFree } = config
  if (record === undefined) return new Map()
  const options = {
    directory: resolve(record),
    cameras: recordCameras,
    maxBytes: recordFileSize * 1e6,
    maxMs: recordFileMinutes * 60_000,
    minFree: recordMinFree * 1e6,
    log: {
      info: (what: object, text: string) => log().info(what, text),
      warn: (what: object, text: string) => log().warn(what, text),
    },
  }
  return new Map(policies.map(served => [served, new Recorder(served, options)]))
}
