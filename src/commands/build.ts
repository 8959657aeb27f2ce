import type { Policy } from '../policy/policy.js'
import { buildForRuntime } from '../runtime/backends.js'
import { ENGINE_SETTINGS } from '../settings/engine.js'
import { CONFIG_FILE } from '../settings/general.js'
import { POLICY_SETTINGS } from '../settings/policy.js'
import { type Call, command as define } from './kit/command.js'
import { configuredPolicy } from './kit/configured-policy.js'
import { interruptible } from './kit/interruption.js'
import { stageDisplay } from './kit/stage-display.js'

export const command = define(
  {
    name: 'build',
    forms: ['[--policy DIR] [options]'],
    about: `
Builds the TensorRT engines that serve --runtime tensorrt uses with the same options, and keeps them in the cache.
Engines that are there are built again only when machine, model, shapes or TensorRT have changed, and it says what
changed. Engines must agree with float32 on the CPU, after 1 and 10 denoise steps, before they may serve: where they do
not, it goes on with lower optimization levels and without the fusions that are known to be faulty, and says which
setting passed. Exits 1 when none did, or when TensorRT cannot run here.`,
    options: {},
    settings: { ...POLICY_SETTINGS, ...ENGINE_SETTINGS, ...CONFIG_FILE },
  },
  build,
)

async function build({ config }: Call): Promise<number> {
  let policy: Policy | undefined
  const display = stageDisplay()
  const load = async () => {
    policy = await configuredPolicy(config)
    return policy
  }
  try {
    const ready = await interruptible(signal =>
      buildForRuntime(load, {
        ...config,
        onStage: display.show,
        onNotice: text => display.above(() => console.log(text)),
        signal,
      }),
    )
    display.stop()
    console.log(ready)
    return 0
  } finally {
    display.stop()
    await policy?.close()
  }
}
