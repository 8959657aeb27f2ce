import { SingleBar } from 'cli-progress'
import { loadConfig, settingsHelp } from '../config.js'
import { TurboPiError } from '../errors.js'
import { createRuntime } from '../runtime/create.js'
import { loadAddon, requireTensorRt } from '../runtime/tensorrt/addon.js'
import type { BuildProgress } from '../runtime/tensorrt/build.js'
import { bytesProgress } from './bytes-progress.js'
import { configuredPolicy } from './configured-policy.js'

export const help = `turbo-pi build [--policy DIR] [--precision bf16|fp16|fp32] [--max-batch N] [options of serve]

Builds the TensorRT engines that serve --runtime tensorrt uses with the same options, and keeps them in the cache.
Engines that are there are built again only when machine, model, shapes or TensorRT have changed, and it says what
changed. Engines must agree with the CPU runtime, after 1 and 10 denoise steps, before they may serve: where they do not,
it goes on with lower optimization levels and without the fusions that are known to be faulty, and says which setting
passed. Exits 1 when none did, or when TensorRT cannot run here.

${settingsHelp()}`

/** `turbo-pi build`: the exit code. */
export async function run(argv: string[]): Promise<number> {
  const config = loadConfig(argv)
  if (config.runtime === 'cpu')
    throw new TurboPiError('CONFIG_INVALID', '--runtime cpu has no engines to build; use tensorrt.')
  const { found } = requireTensorRt(loadAddon())
  console.log(`TensorRT ${found.tensorrtVersion}, ${found.device}, driver ${found.driver}`)
  const policy = await configuredPolicy(config)
  const bar = new EngineBar()
  try {
    const runtime = await createRuntime(policy, {
      ...config,
      runtime: config.runtime === 'auto' ? 'tensorrt_pipelined' : config.runtime,
      onProgress: bytesProgress('Lowering the checkpoint'),
      onBuild: progress => bar.update(progress),
      onNotice: text => {
        bar.stop()
        console.log(text)
      },
    })
    bar.stop()
    const { precision, maxBatch, fingerprint } = runtime.info
    await runtime.close()
    console.log(`${policy.name}: ${precision} engines for up to ${maxBatch} rows are ready (${fingerprint}).`)
    return 0
  } finally {
    bar.stop()
    await policy.close()
  }
}

/** The phase that TensorRT is in, on standard error while that is a terminal. */
class EngineBar {
  readonly #bar = new SingleBar({
    format: 'building {engine} {bar} {value}/{total} {phase}',
    stream: process.stderr,
    clearOnComplete: true,
    stopOnComplete: false,
    hideCursor: true,
    gracefulExit: false,
  })

  update({ engine, phase, done, total }: BuildProgress): void {
    const shown = { engine, phase }
    if (!this.#bar.isActive) this.#bar.start(total, done, shown)
    this.#bar.setTotal(total)
    this.#bar.update(done, shown)
  }

  stop(): void {
    if (this.#bar.isActive) this.#bar.stop()
  }
}
