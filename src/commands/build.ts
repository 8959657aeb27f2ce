import { loadConfig } from '../config.js'
import { TurboPiError } from '../errors.js'
import { createRuntime, requireRuntime } from '../runtime/create.js'
import { bytesProgress } from './bytes-progress.js'
import { configuredPolicy } from './configured-policy.js'
import { progressBar } from './progress.js'

export const help = `turbo-pi build [options of serve]

Builds the TensorRT engines of the policy, unless they are there and fit this GPU, driver and TensorRT, and checks them
against float32 on the CPU. Settings of TensorRT are tried in turn until the engines agree; prints which one did. serve
does the same on its first start.`

/** `turbo-pi build`: the exit code. */
export async function run(argv: string[]): Promise<number> {
  const config = loadConfig(argv)
  if (config.runtime === 'cpu')
    throw new TurboPiError('CONFIG_INVALID', '--runtime cpu needs no engines: there is nothing to build.')
  const backend = config.runtime === 'auto' ? 'tensorrt_pipelined' : config.runtime
  requireRuntime({ runtime: backend })
  const policy = await configuredPolicy(config)
  const stopping = new AbortController()
  const stop = () => stopping.abort()
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  const bar = progressBar('building')
  try {
    const runtime = await createRuntime(policy, {
      ...config,
      runtime: backend,
      onProgress: bytesProgress('Lowering the checkpoint'),
      onBuild: ({ engine, phase, done, total }) => bar.update(done, total, `${engine}: ${phase}`),
      onNotice: text => {
        bar.stop()
        console.log(text)
      },
      signal: stopping.signal,
    })
    bar.stop()
    const { device, precision, maxBatch } = runtime.info
    console.log(`engines ready: ${precision}, up to ${maxBatch} observations a call, ${device}`)
    await runtime.close()
    return 0
  } finally {
    bar.stop()
    process.removeListener('SIGINT', stop)
    process.removeListener('SIGTERM', stop)
    await policy.close()
  }
}
