import { TurboPiError } from '../errors.js'
import { checkPolicy } from '../policy/loading/load.js'
import { bytesProgress } from './kit/bytes-progress.js'
import { checksReport } from './kit/checks-report.js'
import { flag, readOptions, text } from './kit/options.js'

export const help = `turbo-pi doctor DIR [options]

Checks a policy or checkpoint directory for everything that could make it serve wrong actions, and prints a table.
Exits 1 when something is wrong.

  --config NAME       preset of an openpi checkpoint, for example pi05_libero
  --adapter DIR       PEFT adapter (LoRA) to merge into the weights
  --norm-stats PATH   norm_stats.json, when the directory has none
  --tokenizer PATH    tokenizer file, when the directory has none
  --deep              look at every weight (reads the whole file), not at samples
  --json              print the results as JSON`

const OPTIONS = {
  config: text(),
  adapter: text(),
  'norm-stats': text(),
  tokenizer: text(),
  deep: flag(),
  json: flag(),
}

/** Runs every check of the loader to the end. */
export async function run(argv: string[]): Promise<number> {
  const { own, positionals } = readOptions(argv, OPTIONS, help, { allowPositionals: true })
  const [directory] = positionals
  if (directory === undefined || positionals.length > 1)
    throw new TurboPiError(
      'CONFIG_INVALID',
      `doctor takes one directory, got ${positionals.length}.\n\n${help}`,
    )
  const results = checkPolicy(directory, {
    ...(own.config !== undefined && { config: own.config }),
    ...(own.adapter !== undefined && { adapter: own.adapter }),
    ...(own['norm-stats'] !== undefined && { normStats: own['norm-stats'] }),
    ...(own.tokenizer !== undefined && { tokenizer: own.tokenizer }),
    deep: own.deep,
    onRead: bytesProgress('Reading the weights'),
  })
  const { text: report, wrong } = checksReport(results)
  console.log(own.json ? JSON.stringify({ ok: wrong === 0, checks: results }, null, 2) : report)
  return wrong === 0 ? 0 : 1
}
