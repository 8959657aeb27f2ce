import { copyFileSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createCpuRuntime } from '../../src/runtime/cpu/cpu-runtime.js'
import { PIECE_BYTES } from '../../src/storage/content.js'
import { smallConfig, writeModelDirectory } from '../families/models.js'

/** Starts a runtime, asks it once and closes it. */
async function ask(weightsPath: string, config = smallConfig(), cache: string) {
  const notices: string[] = []
  let lowered = false
  const onStage = ({ name }: { name: string }) => {
    lowered ||= name === 'lowering the weights'
  }
  const onNotice = (text: string) => notices.push(text)
  const runtime = await createCpuRuntime({ weightsPath, config, cache, threads: 1, onStage, onNotice })
  const prefix = await runtime.perceive([{ images: [null, null, null], tokens: Int32Array.of(2, 3, 4) }])
  const { actions } = await runtime.act([prefix], [{ steps: 2, noise: 7 }])
  prefix.release()
  await runtime.close()
  return { actions: [...actions], weights: runtime.info.weights, notices, lowered }
}

t.test('two checkpoints of one size, header and time, and one cache', async t => {
  const folder = t.testdir()
  const config = smallConfig({ vocabSize: Math.ceil((1.1 * PIECE_BYTES) / 4 / 32) })
  const first = writeModelDirectory(join(folder, 'one'), config)
  const bytes = readFileSync(first)
  // Numbers of the last tensor, in the second piece.
  for (let at = bytes.length - 512; at < bytes.length; at += 4) bytes.writeFloatLE(1, at)
  const second = join(folder, 'two.safetensors')
  writeFileSync(second, bytes)
  const paths = [first, second] as const
  for (const path of paths) utimesSync(path, 1, 1)
  const header = (path: string) => readFileSync(path).subarray(0, 1000)
  t.equal(statSync(paths[0]).size, statSync(paths[1]).size)
  t.ok(statSync(paths[0]).size > 2 ** 26 && header(paths[0]).equals(header(paths[1])))
  await sleep(2100)

  const cache = join(folder, 'cache')
  const [one, two] = [await ask(paths[0], config, cache), await ask(paths[1], config, cache)]
  t.same([one.lowered, two.lowered], [true, true])
  t.not(one.weights, two.weights, 'each has its identity')
  t.not(`${one.actions}`, `${two.actions}`, 'and its own answers')
  const copy = join(folder, 'copy.safetensors')
  copyFileSync(paths[0], copy)
  t.same(await ask(copy, config, cache), { ...one, lowered: false }, 'a copy of the first is the first')
  copyFileSync(paths[1], copy)
  t.same(await ask(copy, config, cache), { ...two, lowered: false }, 'and the second in its place the second')
})

t.test('a cache that was damaged is mended before it answers, and that is said', async t => {
  const folder = t.testdir()
  const config = smallConfig()
  const weightsPath = writeModelDirectory(join(folder, 'model'), config)
  const whole = await ask(weightsPath, config, folder)
  const [entry] = readdirSync(join(folder, 'models'))
  const file = (name: string) => join(folder, 'models', entry!, name)
  const faults: [() => void, RegExp][] = [
    [
      () => writeFileSync(file('weights.bin'), readFileSync(file('weights.bin')).fill(0, 1000)),
      /weights\.bin has changed since it was written/,
    ],
    [() => rmSync(file('model.json')), /model\.json/],
  ]
  for (const [plant, notice] of faults) {
    plant()
    const healed = await ask(weightsPath, config, folder)
    t.match(healed.notices, [notice])
    t.same({ ...healed, notices: [] }, whole)
  }
  t.same(readdirSync(join(folder, 'models')), [entry], 'no mark of use is left')
})
