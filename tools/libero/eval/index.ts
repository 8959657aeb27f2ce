import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { servePolicy } from '../../../src/commands/eval/server.js'
import { Interrupted, interruptible } from '../../../src/commands/kit/interruption.js'
import { machineLine } from '../../../src/commands/kit/machine.js'
import { flag, integer, integers, readOptions, text } from '../../../src/commands/kit/options.js'
import { progressBar } from '../../../src/commands/kit/progress.js'
import { defaultConfig } from '../../../src/config.js'
import { reasonOf } from '../../../src/errors.js'
import { POLICY_SETTINGS } from '../../../src/settings/policy.js'
import { makeDirectory } from '../../../src/storage/make-directory.js'
import { type Condition, conditionsOf } from './conditions.js'
import { EpisodeFile, type Setup } from './episodes.js'
import { faultOf, MUTATION_NAMES, mutatedPolicy } from './mutations.js'
import { report } from './report.js'
import { type Job, pythonEnvironment, Simulators } from './simulators.js'

const HELP = `npm run eval:libero -- [options]: a policy on LIBERO's own simulator and initial states, closed loop, by a server in this process

  --policy DIR         the policy
  --config NAME        openpi's config of a checkpoint without policy.json
  --suite NAME         spatial, object, goal, 10 or 90                                      [spatial]
  --episodes N         of each task, 1 to 50                                                     [50]
  --tasks A,B          numbers of tasks                                                         [all]

The default is cpu:fp32, 10 denoise steps, no delay. Each of these is compared to it by pairs, the rest at its default:

  --base BACKEND       the default backend                                                 [cpu:fp32]
  --backends A,B       as cpu:fp32,cpu:int8,cuda:bf16
  --steps A,B          numbers of denoise steps
  --delay A,B          control steps (50 ms of simulated time) from an observation to its answer
  --strategy A,B       of the client's executor under delay: sync, aligned, blend, rtc
  --mutations A,B      faults: ${MUTATION_NAMES.slice(1).join(', ')}; or all

  --execute N          actions of a chunk that are carried out; under a delay the executor asks again as
                       soon as the answer before is there                                         [5]
  --processes N        simulators side by side, 1.5 GB each                     [a processor's cores]
  --seconds N          that an episode may take                                                 [600]
  --out DIR            takes episodes.jsonl, results.json, report.md; goes on if they are there [.libero]
  --videos             a film of the first episode of each task into it
  --python FILE        of the venv that tools/libero/setup.sh makes       [tools/libero/.venv/bin/python]
`

const OPTIONS = {
  policy: POLICY_SETTINGS.policy,
  config: POLICY_SETTINGS.config,
  suite: text('spatial'),
  episodes: integer(50, 1, 50),
  tasks: integers([], 0, 89),
  base: text('cpu:fp32'),
  backends: text(''),
  steps: integers([], 1, 50),
  delay: integers([], 0, 40),
  strategy: text(''),
  mutations: text(''),
  execute: integer(5, 1, 1000),
  processes: integer(availableParallelism(), 1, 256),
  seconds: integer(600, 10, 86_400),
  out: text('.libero'),
  videos: flag(),
  python: text(fileURLToPath(new URL('../.venv/bin/python', import.meta.url))),
  help: flag(),
}
const ANSWER_SECONDS = 60

const { own } = readOptions(process.argv.slice(2), OPTIONS, HELP, 'eval:libero')
const list = (value: string) => value.split(',').filter(Boolean)

if (own.help) console.log(HELP)
else
  await interruptible(evaluate).catch(error => {
    console.error(reasonOf(error))
    process.exitCode = error instanceof Interrupted ? error.exitCode : 1
  })

async function evaluate(signal: AbortSignal): Promise<void> {
  const source = own.policy[0]?.directory
  if (source === undefined) throw new Error('--policy DIR is missing: name the policy that is to act')
  if (!existsSync(own.python))
    throw new Error(`--python ${own.python}: there is none; bash tools/libero/setup.sh makes it`)
  const conditions = conditionsOf({
    base: own.base,
    backends: list(own.backends),
    steps: own.steps,
    delay: own.delay,
    strategy: list(own.strategy),
    mutations: own.mutations === 'all' ? MUTATION_NAMES.slice(1) : list(own.mutations),
  })
  const suite = `libero_${own.suite}`
  const tasks = promptsOf(suite)
  const temporary = mkdtempSync(join(tmpdir(), 'libero-'))
  const simulators = new Simulators(own.python, own.processes, own.seconds)
  signal.addEventListener('abort', () => simulators.stop())
  let folder: { setup: Setup; file: EpisodeFile } | undefined
  try {
    for (const condition of conditions) {
      const { steps, mutation, runtime, precision } = condition
      const options = { defaultSteps: steps, ...(own.config !== undefined && { config: own.config }) }
      const policy = await mutatedPolicy(mutation, source, temporary, options)
      const server = await servePolicy(policy, { ...defaultConfig(), runtime, precision }, signal)
      try {
        // The first condition has no mutation.
        folder ??= openFolder({
          suite,
          tasks,
          model: server.model,
          policy: policy.name,
          execute: own.execute,
        })
        await play(simulators, condition, server.url.replace('http', 'ws'), folder, signal)
      } finally {
        await server.close()
      }
      write(conditions, folder)
    }
    console.log(readFileSync(join(own.out, 'report.md'), 'utf8'))
  } finally {
    simulators.stop()
    rmSync(temporary, { recursive: true })
  }
}

function openFolder(setup: Setup): { setup: Setup; file: EpisodeFile } {
  return { setup, file: new EpisodeFile(own.out, setup) }
}

/** Prompts of a suite's tasks, by their numbers. */
function promptsOf(suite: string): string[] {
  const program = `import json, sys; from simulator import prompts; json.dump(prompts(${JSON.stringify(suite)}), sys.stderr)`
  const options = {
    env: pythonEnvironment(),
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    encoding: 'utf8',
  } as const
  const { stderr, status } = spawnSync(own.python, ['-W', 'ignore', '-c', program], options)
  const json = /\[".*"\]\s*$/.exec(stderr)
  if (status !== 0 || !json)
    throw new Error(`${own.python} has no LIBERO with the suite ${suite}:\n${stderr}`)
  return JSON.parse(json[0]) as string[]
}

/** Plays what the folder has not yet of a condition. */
async function play(
  simulators: Simulators,
  condition: Condition,
  url: string,
  { setup, file }: { setup: Setup; file: EpisodeFile },
  signal: AbortSignal,
): Promise<void> {
  const tasks = own.tasks.length > 0 ? own.tasks : setup.tasks.map((_, task) => task)
  const films = join(own.out, 'videos')
  if (own.videos) makeDirectory(films)
  const jobs = tasks
    .flatMap(task => Array.from({ length: own.episodes }, (_, episode) => ({ task, episode })))
    .filter(({ task, episode }) => !file.has(condition.name, task, episode))
    .map(({ task, episode }): Job => {
      const { name, delay, strategy, mutation } = condition
      const execute = delay > 0 && strategy !== 'sync' ? 1 : own.execute
      return {
        ...{ condition: name, url, suite: setup.suite, task, episode, execute, delay, strategy },
        ...{ fault: faultOf(mutation), timeout: ANSWER_SECONDS },
        ...(own.videos && episode === 0 && { video: resolve(films, filmName(condition, task)) }),
      }
    })
  const bar = progressBar(`${condition.name} {bar} {value}/{total}, {solved} solved, {eta_formatted} to go`)
  let [done, solved] = [0, 0]
  try {
    bar.update(0, jobs.length, { solved })
    await simulators.play(
      jobs,
      result => {
        file.add(result)
        solved += Number(result.solved)
        bar.update((done += 1), jobs.length, { solved })
      },
      signal,
    )
  } finally {
    bar.stop()
  }
}

function filmName({ name }: Condition, task: number): string {
  return `task-${task}-${name.replaceAll(/[^a-z0-9]+/g, '-')}.mp4`
}

/** What is known so far. */
function write(conditions: readonly Condition[], { setup, file }: { setup: Setup; file: EpisodeFile }): void {
  writeFileSync(join(own.out, 'report.md'), report(setup, conditions, file.episodes))
  const results = { ...setup, machine: machineLine(), conditions, episodes: file.episodes }
  writeFileSync(join(own.out, 'results.json'), `${JSON.stringify(results, null, 1)}\n`)
}
