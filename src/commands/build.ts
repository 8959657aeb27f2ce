import { loadConfig, settingsHelp } from '../config.js'
import type { Policy } from '../policy/policy.js'
import { buildForRuntime } from '../runtime/backends.js'
import { bytesProgress } from './kit/bytes-progress.js'
import { configuredPolicy } from './kit/configured-policy.js'
import { progressBar } from './kit/progress.js'

export const help = `turbo-pi build [--policy DIR] [--precision bf16|fp16|fp32] [--max-batch N] [options of serve]

Builds the TensorRT engines that serve --runtime tensorrt uses with the same options, and keeps them in the cache.
Engines that are there are built again only when machine, model, shapes or TensorRT have changed, and it says what
changed. Engines must agree with float32 on the CPU, after 1 and 10 denoise steps, before they may serve: where they do
not, it goes on with lower optimization levels and without the fusions that are known to be faulty, and says which
setting passed. Exits 1 when none did, or when TensorRT cannot run here.

${settingsHelp()}`

/** `turbo-pi build`: the exit code. */
export async function run(argv: string[]): Promise<number> {
  const config = loadConfig(argv)
  let policy: Policy | undefined
  const stopping = new AbortController()
  const stop = () => stopping.abort()
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  const bar = progressBar('building {bar} {percentage} % {what}')
  const load = async () => {
    policy = await configuredPolicy(config)
    return policy
  }
  try {
    const ready = await buildForRuntime(load, {
      ...config,
      onProgress: bytesProgress('Lowering the checkpoint'),
      onBuild: ({ part, phase, done, total }) => bar.update(done, total, { what: `${part}: ${phase}` }),
      onNotice: text => {
        bar.stop()
        console.log(text)
      },
      signal: stopping.signal,
    })
    bar.stop()
    console.log(ready)
    return 0
  } finally {
    bar.stop()
    process.removeListener('SIGINT', stop)
    process.removeListener('SIGTERM', stop)
    await policy?.close()
  }
}
