import { checkPolicy, loadPolicy } from '../policy/loading/load.js'
import { ENGINE_SETTINGS } from '../settings/engine.js'
import { CONFIG_FILE } from '../settings/general.js'
import { flag } from '../settings/kinds.js'
import { POLICY_SETTINGS } from '../settings/policy.js'
import { bytesProgress } from './kit/bytes-progress.js'
import { checksReport } from './kit/checks-report.js'
import { type Call, command as define } from './kit/command.js'
import { cudaMemoryCheck } from './kit/cuda-memory.js'

const { config, adapter, normStats, tokenizer } = POLICY_SETTINGS
const { runtime, precision, pipeline, maxBatch } = ENGINE_SETTINGS

const OPTIONS = {
  deep: flag({ meaning: 'look at every weight (reads the whole file), not at samples' }),
  json: flag({ meaning: 'print the results as JSON' }),
}

export const command = define(
  {
    name: 'doctor',
    forms: ['DIR [options]'],
    about: `
Checks a policy or checkpoint directory for everything that could make it serve wrong actions, and prints a table.
Exits 1 when something is wrong. With --runtime cuda it also tells what the policy takes on the GPU, and whether that is free there.`,
    positionals: { least: 1, most: 1, what: 'one directory', offers: 'directories' },
    options: OPTIONS,
    settings: {
      ...{ config, adapter, normStats, tokenizer, runtime, precision, pipeline, maxBatch },
      ...CONFIG_FILE,
    },
  },
  examine,
)

/** Runs every check of the loader to the end. */
async function examine({ own, config, positionals }: Call<typeof OPTIONS>): Promise<number> {
  const options = {
    ...(config.config !== undefined && { config: config.config }),
    ...(config.adapter !== undefined && { adapter: config.adapter }),
    ...(config.normStats !== undefined && { normStats: config.normStats }),
    ...(config.tokenizer !== undefined && { tokenizer: config.tokenizer }),
  }
  const checks = checkPolicy(positionals[0]!, {
    ...options,
    deep: own.deep,
    onRead: bytesProgress('Reading the weights'),
  })
  const sound = checks.every(({ status }) => status !== 'failed')
  const results =
    config.runtime === 'cuda' && sound
      ? [...checks, await cudaMemoryCheck(await loadPolicy(positionals[0]!, options), config)]
      : checks
  const { text: report, wrong } = checksReport(results)
  console.log(own.json ? JSON.stringify({ ok: wrong === 0, checks: results }, null, 2) : report)
  return wrong === 0 ? 0 : 1
}
