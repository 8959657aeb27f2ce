import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { LoweredModel } from '../../src/families/lowered-model.js'
import { writeSafetensors } from '../../src/storage/safetensors.js'
import { Checkout } from '../support/checkout.js'
import {
  bundled,
  editJson,
  golden,
  type Json,
  lerobotCheckpoint,
  openpiCheckpoint,
} from '../support/checkpoint.js'
import { commandsOf, documents, readDocument } from '../support/documents.js'

// A server is started a dozen times.
t.comment('timeout=2400000')
t.setTimeout(2_400_000)

/** Commands that are not run here, and why. */
const NOT_RUN: readonly (readonly [RegExp, string])[] = [
  [/^npm ci$/, 'fetches packages; .ci/run does it, with the line of the README'],
  [/^npm test$/, 'is what runs this'],
  [/^npx turbo-pi (?:replay|export-dataset) /, 'needs a recording; test/recording has one'],
  [/^npm run bench:full$/, '20 GB and minutes'],
  [/--random-weights/, 'writes 6.7 GB'],
  [/^npx turbo-pi (?:eval|motion)$/, 'minutes; test/tabletop/evaluation.test.ts runs the same in small'],
  [/^npx turbo-pi pull|gs:\/\//, 'downloads; test/commands/pull.test.ts has a server for it'],
  [/^python3 -m venv|^\.venv/, 'fetches packages; clients/python/test.sh does the same'],
  [/--host 0\.0\.0\.0/, 'listens to the whole network'],
  [/^npx turbo-pi build|^trtexec/, 'TensorRT'],
]

/** Commands whose exit judges the machine, a busy one, too, and what they print once they have run. */
const JUDGES: readonly (readonly [RegExp, RegExp])[] = [
  [/^npx turbo-pi link /, /^lost +\d+ of 50\nage budget .* are left to the server$/m],
]

/** Documents that need more than this machine may have, and what. */
const NEEDS: Readonly<Record<string, string>> = {
  'docs/guides/docker.md': 'a Docker engine; npm run docker:check builds and tries the images',
  'docs/guides/gpu.md': 'a GPU',
  'docs/guides/jetson-thor.md': 'a Jetson Thor',
  'docs/guides/libero.md': 'a released checkpoint of 12 GB, LIBERO’s simulator, and openpi’s repository',
  'docs/guides/kubernetes.md': 'a cluster; npm run test:kubernetes makes one, without containers',
}

/** Puts what a document speaks of into the checkout, by the document and the heading before its commands. */
const GIVEN: Readonly<Record<string, (directory: string) => void>> = {
  'docs/guides/checkpoints.md, An openpi checkpoint': directory =>
    place(openpiCheckpoint(t), directory, 'checkpoint'),
  'docs/guides/checkpoints.md, JAX checkpoints': directory => {
    place(golden('orbax/pi05_micro_f32'), directory, 'checkpoint')
    cpSync(golden('orbax/cases/pi05_micro_a.safetensors'), join(directory, 'CASE.safetensors'))
  },
  'docs/guides/checkpoints.md, PEFT adapters': directory => {
    place(bundled, directory, 'base')
    writeFreshAdapter(join(directory, 'adapter'))
    cpSync(golden('cases/pi05_tiny_a_2cam_short_10steps.safetensors'), join(directory, 'CASE.safetensors'))
  },
  'docs/guides/checkpoints.md, A LeRobot checkpoint': directory =>
    place(lerobotCheckpoint(t), directory, 'checkpoint'),
  'docs/guides/cli.md, Where settings come from': directory =>
    writeFileSync(
      join(directory, 'turbo-pi.yaml'),
      readDocument('docs/guides/cli.md').blocks.find(({ language }) => language === 'yaml')!.text,
    ),
  'docs/guides/embodiment.md, The policy directory': directory =>
    writeDeskArm(join(directory, 'path/to/directory')),
  'docs/guides/embodiment.md, Have it written': directory => {
    place(openpiCheckpoint(t), directory, 'checkpoint')
    writeDeskArm(join(directory, 'desk'))
    for (const file of ['policy.json', 'desk-arm.json']) rmSync(join(directory, 'desk', file))
  },
}

function place(source: string, directory: string, name: string): void {
  rmSync(join(directory, name), { recursive: true, force: true })
  cpSync(source, join(directory, name), { recursive: true })
}

/** An adapter as PEFT starts one: B is zero, so that the weights stay as they are. */
function writeFreshAdapter(directory: string): void {
  mkdirSync(directory)
  const factor = (letter: string, shape: number[], value: number) =>
    [
      `base_model.model.model.action_in_proj.lora_${letter}.weight`,
      { dtype: 'F32' as const, shape, pieces: () => [new Float32Array(shape[0]! * shape[1]!).fill(value)] },
    ] as const
  writeSafetensors(
    join(directory, 'adapter_model.safetensors'),
    new Map([factor('A', [2, 32], 1), factor('B', [64, 2], 0)]),
  )
  writeFileSync(
    join(directory, 'adapter_config.json'),
    JSON.stringify({ peft_type: 'LORA', r: 2, lora_alpha: 3, target_modules: '.*' }),
  )
}

/** JSON blocks of the guide: the descriptor, the manifest, and an observation. */
const deskArm = () =>
  readDocument('docs/guides/embodiment.md')
    .blocks.filter(({ language }) => language === 'json')
    .map(({ text }) => text)

/** The guide's own robot over the bundled random weights. */
function writeDeskArm(directory: string): void {
  mkdirSync(directory, { recursive: true })
  const [descriptor, manifest] = deskArm()
  writeFileSync(join(directory, 'desk-arm.json'), descriptor!)
  writeFileSync(join(directory, 'policy.json'), manifest!)
  for (const file of ['model.safetensors', 'config.json']) cpSync(join(bundled, file), join(directory, file))
  cpSync(join(bundled, 'tokenizer.model'), join(directory, 'paligemma_tokenizer.model'))
  const stats = join(directory, 'norm_stats.json')
  cpSync(join(bundled, 'assets/physical-intelligence/libero/norm_stats.json'), stats)
  editJson(stats, ({ norm_stats }) => {
    const { actions } = norm_stats as { actions: Record<string, number[]> }
    for (const numbers of Object.values(actions)) numbers.push(numbers[0]!)
  })
}

const isServer = (command: string) => /turbo-pi serve\b|^npm start$/.test(command)

interface Step {
  command: string
  place: string
}

/** The commands of a document in their order: of its blocks, and of the README's tables. */
function stepsOf(path: string): Step[] {
  const { blocks, spans } = readDocument(path)
  const fenced = blocks
    .filter(({ language }) => language === 'sh')
    .flatMap(block => commandsOf(block).map(command => ({ command, place: `${path}, ${block.heading}` })))
  const tabled =
    path === 'README.md' ? spans.filter(span => /^npx turbo-pi [a-z]/.test(span)) : ([] as string[])
  return [...fenced, ...tabled.map(command => ({ command, place: `${path}, its tables` }))].flatMap(
    ({ command, place }) => command.split(' && ').map(part => ({ command: part, place })),
  )
}

const paths = documents()
  .map(({ path }) => path)
  .filter(path => path === 'README.md' || path.startsWith('docs/guides/'))
const used = new Set<RegExp>()

t.test('every command of the README and of the guides runs as it is written', async t => {
  const checkout = await Checkout.make(t)
  // The README builds it, by npm start; guides go on from there.
  for (const path of ['README.md', ...paths.filter(path => path !== 'README.md' && !(path in NEEDS))])
    await t.test(path, async t => {
      let placed = ''
      for (const { command, place } of stepsOf(path)) {
        const [because] = NOT_RUN.filter(([pattern]) => pattern.test(command))
        if (because) {
          used.add(because[0])
          t.comment(`not run: ${command}: ${because[1]}`)
          continue
        }
        if (place !== placed) GIVEN[place]?.(checkout.directory)
        placed = place
        const outcome = isServer(command) ? await checkout.serve(command) : await checkout.run(command)
        const judge = JUDGES.find(([pattern]) => pattern.test(command))
        if (judge && outcome.code === 1) t.match(outcome.output, judge[1], command)
        else t.equal(outcome.code, 0, command, { output: outcome.output.slice(-3000) })
        if (command.startsWith('curl'))
          t.notMatch(outcome.output, /urn:turbo-pi:error/, `${command}: its answer is no error`)
      }
      await checks[path]?.(t, checkout)
      await checkout.stop()
      checkout.clear()
    })
  t.same(
    NOT_RUN.filter(([pattern]) => !used.has(pattern)),
    [],
    'what is not run is in a document',
  )
})

/** What else a document says of what its commands have done. */
const checks: Readonly<Record<string, (t: Test, checkout: Checkout) => Promise<void>>> = {
  async 'docs/guides/embodiment.md'(t, { url }) {
    const observation = JSON.parse(deskArm()[2]!) as { cameras: Json }
    observation.cameras['desk'] = readFileSync(join(bundled, '../../examples/image.jpg')).toString('base64')
    const answer = await fetch(`${url}/infer`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(observation),
    })
    t.equal(answer.status, 200, 'the observation of the guide is answered')
    t.match(await answer.json(), { actions: Array, guard: Object })
  },
  async 'docs/guides/export.md'(t, { temporary }) {
    const { graphs } = JSON.parse(
      readFileSync(join(temporary, 'tabletop/model.json'), 'utf8'),
    ) as LoweredModel
    const { text } = readDocument('docs/guides/export.md')
    for (const [graph, { inputs, outputs }] of Object.entries(graphs))
      for (const { name } of [...inputs, ...outputs])
        t.ok(text.includes(`\`${name.replace(/\d+$/, 'l')}\``), `${graph}: ${name} is in the table`)
  },
}
