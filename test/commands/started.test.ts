import { readFileSync } from 'node:fs'
import t from 'tap'

const WAYS = [
  'src/cli.ts',
  'package.json',
  'docker/Dockerfile.cpu',
  'docker/Dockerfile.jetpack',
  'docker/Dockerfile.nvcr',
  'deploy/systemd/turbo-pi.service',
]
const SETTINGS = [
  /--v8-pool-size=1\b/,
  /\bMALLOC_MMAP_THRESHOLD_=4194304\b/,
  /\bMALLOC_TRIM_THRESHOLD_=16777216\b/,
]

t.test('every way to start the server bounds what memory costs', async t => {
  for (const way of WAYS) for (const setting of SETTINGS) t.match(readFileSync(way, 'utf8'), setting, way)
})
