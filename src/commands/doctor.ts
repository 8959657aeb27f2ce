import { checkPolicy } from '../policy/loading/load.js'
import { CONFIG_FILE } from '../settings/general.js'
import { flag } from '../settings/kinds.js'
import { POLICY_SETTINGS } from '../settings/policy.js'
import { bytesProgress } from './kit/bytes-progress.js'
import { checksReport } from './kit/checks-report.js'
import { type Call, command as define } from './kit/command.js'

const { config, adapter, normStats, tokenizer } = POLICY_SETTINGS

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
Exits 1 when something is wrong.`,
    positionals: { least: 1, most: 1, what: 'one directory', offers: 'directories' },
    options: OPTIONS,
    settings: { config, adapter, normStats, tokenizer, ...CONFIG_FILE },
  },
  examine,
)

/** Runs every check of the loader to the end. */
async function examine({ own, config, positionals }: Call<typeof OPTIONS>): Promise<number> {
  const results = checkPolicy(positionals[0]!, {
    ...(config.config !== undefined && { config: config.config }),
    ...(config.adapter !== undefined && { adapter: config.adapter }),
    ...(config.normStats !== undefined && { normStats: config.normStats }),
    ...(config.tokenizer !== undefined && { tokenizer: config.tokenizer }),
    deep: own.deep,
    onRead: bytesProgress('Reading the weights'),
  })
  const { text: report, wrong } = checksReport(results)
  console.log(own.json ? JSON.stringify({ ok: wrong === 0, checks: results }, null, 2) : report)
  return wrong === 0 ? 0 : 1
}
