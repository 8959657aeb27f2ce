import { writeFileSync } from 'node:fs'
import type { Config } from '../../config.js'
import { PRECISIONS } from '../../onnx/arithmetic.js'
import { Player } from '../../recording/player.js'
import { Replay } from '../../recording/replay.js'
import { replayHtml } from '../../recording/report-html.js'
import { createRuntime, RUNTIMES, requireRuntime } from '../../runtime/backends.js'
import { ENGINE_SETTINGS } from '../../settings/engine.js'
import { CONFIG_FILE } from '../../settings/general.js'
import { file, flag, integer, text } from '../../settings/kinds.js'
import { POLICY_SETTINGS } from '../../settings/policy.js'
import { type Call, command as define } from '../kit/command.js'
import { configuredPolicy } from '../kit/configured-policy.js'
import { progressBar } from '../kit/progress.js'
import { stageDisplay } from '../kit/stage-display.js'
import { replayText } from './text.js'

const OPTIONS = {
  against: text({
    takes: 'X',
    meaning:
      'compares with another policy directory, runtime or precision beside it, on the same observations',
  }),
  robot: text({ takes: 'NAME', meaning: 'observations of this robot alone' }),
  limit: integer({ default: 1_000_000, min: 1, max: 1_000_000_000, meaning: 'observations at most' }),
  report: file({ meaning: 'writes an HTML page with tables and plots' }),
  json: flag({ meaning: 'print JSON' }),
}

const { runtime, precision, threads, pipeline, maxBatch, visionCache, cacheDir } = ENGINE_SETTINGS

export const command = define(
  {
    name: 'replay',
    forms: ['FILE... [--against DIR|RUNTIME|PRECISION] [options]'],
    about: `
Gives the observations of recordings (serve --record) to a policy once more, with their seeds, and compares the chunks. On a
CPU the same model computes them bit for bit as they were recorded; the exit code is 1 when it does not.

The policy is that of --policy, else the bundled one; guards only report.`,
    positionals: { least: 1, most: 10_000, what: 'one recording or more', offers: 'files' },
    options: OPTIONS,
    settings: {
      ...POLICY_SETTINGS,
      runtime,
      precision,
      threads,
      pipeline,
      maxBatch,
      visionCache,
      cacheDir,
      ...CONFIG_FILE,
    },
  },
  replay,
)

async function replay({ own, config: given, positionals: files }: Call<typeof OPTIONS>): Promise<number> {
  const config: Config = { ...given, guard: 'report' }
  await using player = await openPlayer(config)
  await using against =
    own.against === undefined ? undefined : await openPlayer(againstOf(config, own.against))
  const bar = progressBar('Replaying {bar} {value} observations')
  const onProgress = (done: number) => bar.update(done, own.limit)
  const { robot, limit } = own
  const report = await new Replay(player, against, { robot, limit, onProgress }).run(files)
  bar.stop()
  if (own.report !== undefined) writeFileSync(own.report, replayHtml(report, player.joints))
  console.log(own.json ? JSON.stringify(report, null, 2) : replayText(report))
  const same = report.recorded?.model === report.replayed.model && player.backend === 'cpu'
  const expected = report.observations - report.lossy - report.otherModels
  return same && sameArithmetic(report.recorded?.runtime, player) && report.bitExact < expected ? 1 : 0
}

const sameArithmetic = (
  recorded: { backend: string; precision: string } | null | undefined,
  player: Player,
) => recorded?.backend === player.backend && recorded.precision === player.precision

/** The settings of the other side. */
function againstOf(config: Config, against: string): Config {
  if (PRECISIONS.includes(against as never)) return { ...config, precision: against as Config['precision'] }
  if (RUNTIMES.includes(against)) return { ...config, runtime: against as Config['runtime'] }
  return { ...config, policy: [{ name: 'against', directory: against }] }
}

async function openPlayer(config: Config): Promise<Player & AsyncDisposable> {
  await requireRuntime(config)
  const policy = await configuredPolicy(config)
  try {
    const display = stageDisplay()
    const runtime = await createRuntime(policy, { ...config, onStage: display.show }).finally(display.stop)
    const end = async () => {
      await runtime.close()
      await policy.close()
    }
    return Object.assign(new Player(policy, runtime), { [Symbol.asyncDispose]: end })
  } catch (error) {
    await policy.close()
    throw error
  }
}
