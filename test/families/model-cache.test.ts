import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { keyOf, type ModelSource, recipeOf } from '../../src/families/lowered-model.js'
import { modelFromCache } from '../../src/families/model-cache.js'
import { Checkpoint } from '../../src/families/pi0/checkpoint.js'
import type { ModelConfig } from '../../src/families/pi0/config.js'
import { readModelDirectory } from '../../src/families/pi0/model-directory.js'
import { Lowering } from '../../src/onnx/lowering.js'
import { requireSpace } from '../../src/storage/cache.js'
import { contentDigest, PIECE_BYTES } from '../../src/storage/content.js'
import { recall } from '../../src/storage/known-content.js'
import type { OnStage } from '../../src/storage/stage.js'
import { golden, smallConfig, writeModelDirectory } from './models.js'

const tiny = readModelDirectory(join(golden, 'model_pi05_tiny'))
const source: ModelSource = { ...tiny, precision: 'fp32' }
/** A file that was changed just now is not trusted to be the same the next time. */
const SETTLED_MS = 2100

const recipe = (changes: Partial<ModelSource> = {}) => {
  const checkpoint = Checkpoint.open(tiny.weightsPath, tiny.config)
  try {
    return recipeOf({ ...source, ...changes }, checkpoint)
  } finally {
    checkpoint.close()
  }
}

t.test('a recipe names everything that is made of the weights', t => {
  const { config } = tiny
  t.equal(recipe(), recipe(), 'the same every time')
  const shaped: ModelConfig = { ...config, actionHorizon: 50, maxTokenLength: 7 }
  t.equal(recipe({ config: shaped }), recipe(), 'horizon and prompt length share it')
  t.not(recipe({ config: { ...config, ropeTheta: 9 } }), recipe())
  const all = (['fp32', 'fp16', 'bf16', 'int8'] as const).map(precision => recipe({ precision }))
  t.equal(new Set([...all, recipe({ precision: 'fp16', emulated: true })]).size, 5, 'as does the arithmetic')

  const before = recipe()
  const { matrix } = Lowering.prototype
  const doubled: typeof matrix = function (this: Lowering, name, type, [first, ...others], norm) {
    return matrix.call(this, name, type, [{ ...first!, scale: 2 }, ...others], norm)
  }
  t.intercept(Lowering.prototype, 'matrix', { value: doubled })
  t.not(recipe(), before, 'weights that are packed otherwise, in graphs that are the same')
  t.end()
})

/** Hears bytes written, and no other stage. */
const whileLowering =
  (hear: (done: number, total: number) => unknown): OnStage =>
  ({ name, done, total }) => {
    if (name === 'lowering the weights') hear(done!, total!)
  }

t.test('a model is lowered once, whoever asks and wherever the checkpoint lies', async t => {
  const cache = t.testdir()
  const interrupt = whileLowering(() => {
    throw new Error('no space left on device')
  })
  await t.rejects(modelFromCache(source, cache, { onStage: interrupt }), {
    code: 'CACHE_FAILED',
    message: /no space left/,
  })
  t.same(readdirSync(join(cache, 'models')), [], 'nothing is left of a failed run')
  t.throws(() => requireSpace(cache, 1e18), {
    code: 'CACHE_FAILED',
    message: /needs 1000000000000000000 bytes .* but \d+ bytes .* are free.* TURBO_PI_CACHE/,
  })

  const heard: [number, number][] = []
  const first = await modelFromCache(source, cache, {
    onStage: whileLowering((...bytes) => heard.push(bytes)),
  })
  const [done, total] = heard.at(-1)!
  t.equal(done, total)
  t.ok(
    heard.every(([done], i) => i === 0 || done > heard[i - 1]![0]),
    'progress goes forward',
  )
  t.equal(first.directory, join(cache, 'models', keyOf(recipe(), first.model.content)))

  const onStage = whileLowering(() => t.fail('a second run writes nothing'))
  t.same(await modelFromCache(source, cache, { onStage }), first)
  const copy = join(cache, 'copy.safetensors')
  copyFileSync(tiny.weightsPath, copy)
  utimesSync(copy, 1, 1)
  const copied = { ...source, weightsPath: copy }
  t.equal((await modelFromCache(copied, cache, { onStage })).directory, first.directory, 'a copy')
  utimesSync(copy, 2, 2)
  t.equal((await modelFromCache(copied, cache, { onStage })).directory, first.directory, 'touched')

  const bytes = readFileSync(copy)
  bytes[bytes.length - 1]! ^= 1
  writeFileSync(copy, bytes)
  const other = await modelFromCache(copied, cache)
  t.not(contentDigest(other.model.content), contentDigest(first.model.content), 'one bit changed')
  t.not(other.directory, first.directory)
})

t.test('what was read of a checkpoint is known until the file changes', async t => {
  const cache = t.testdir()
  const config = smallConfig()
  const weightsPath = writeModelDirectory(join(cache, 'policy'), config, 1)
  const other = writeModelDirectory(join(cache, 'other'), config, 2)
  const source: ModelSource = { weightsPath, config, precision: 'fp32' }
  const known = () => {
    const checkpoint = Checkpoint.open(weightsPath, config)
    checkpoint.close()
    return recall(cache, checkpoint.content())
  }
  // However long the machine took to come here.
  const written = statSync(weightsPath).ctimeMs
  const clock = t.intercept(Date, 'now', { value: () => written + SETTLED_MS - 200 })
  const one = await modelFromCache(source, cache)
  t.equal(known(), undefined, 'a file that is seconds old may change again within the same time stamp')
  clock.restore()
  await sleep(SETTLED_MS)
  t.same((await modelFromCache(source, cache)).directory, one.directory)
  t.same(known(), one.model.content)

  const { atime, mtime, ino, size } = statSync(weightsPath)
  writeFileSync(weightsPath, readFileSync(other))
  utimesSync(weightsPath, atime, mtime)
  t.match(statSync(weightsPath), { ino, size, mtime }, 'another checkpoint in its place, its time set back')
  t.equal(known(), undefined)
  const two = await modelFromCache(source, cache)
  t.not(two.directory, one.directory)

  const change = whileLowering(() => utimesSync(weightsPath, 3, 3))
  await t.rejects(modelFromCache({ ...source, precision: 'fp16' }, cache, { onStage: change }), {
    code: 'CHECKPOINT_INVALID',
    message: /was changed while it was read; start again/,
  })
  t.same(readdirSync(join(cache, 'models')).length, 2, 'and nothing is kept of it')
})

t.test('a damaged entry is noticed, said, and written again', async t => {
  const cache = t.testdir()
  const { directory, model } = await modelFromCache(source, cache)
  const files = [...Object.keys(model.files), 'model.json']
  const whole = files.map(name => readFileSync(join(directory, name)))
  const weights = join(directory, 'weights.bin')
  const zero = (path: string, at: number) => {
    const bytes = readFileSync(path)
    writeFileSync(path, bytes.fill(0, at, at + 64))
  }
  const faults: [string, () => void, RegExp][] = [
    ['zeroed bytes', () => zero(weights, 40_000), /weights\.bin has changed since it was written/],
    ['a short copy', () => truncateSync(weights, 1000), /weights\.bin has 1000 bytes, \d+ were written/],
    ['no weights', () => rmSync(weights), /weights\.bin is missing/],
    ['a graph', () => zero(join(directory, 'denoise.onnx'), 0), /denoise\.onnx has changed/],
    ['no graph', () => rmSync(join(directory, 'prefix.onnx')), /prefix\.onnx is missing/],
    ['no model.json', () => rmSync(join(directory, 'model.json')), /model\.json/],
    ['an empty model.json', () => truncateSync(join(directory, 'model.json')), /JSON/],
    [
      'another word in model.json',
      () => {
        const path = join(directory, 'model.json')
        writeFileSync(path, readFileSync(path, 'utf8').replace('"fp32"', '"fp16"'))
      },
      /model\.json is not as it was written/,
    ],
  ]
  for (const shortcut of [true, false])
    for (const [name, plant, message] of faults) {
      if (!shortcut) rmSync(join(cache, 'contents'), { recursive: true, force: true })
      plant()
      const notices: string[] = []
      const healed = await modelFromCache(source, cache, { onNotice: text => notices.push(text) })
      t.match(notices, [message], name)
      t.match(notices[0], /is damaged: .* It is removed, and the checkpoint is lowered again\./)
      t.equal(healed.directory, directory)
      for (const [i, file] of files.entries())
        t.ok(readFileSync(join(directory, file)).equals(whole[i]!), `${name}: ${file} is whole again`)
    }
  t.same(readdirSync(join(cache, 'models')), [model.key], 'and nothing else is left')
})

t.test('a warm start reads the lowered weights alone', { skip: !existsSync('/proc/self/io') }, async t => {
  const cache = t.testdir()
  // The embedding alone is larger than a piece.
  const config = smallConfig({ vocabSize: Math.ceil((1.1 * PIECE_BYTES) / 4 / 32) })
  const weightsPath = writeModelDirectory(join(cache, 'policy'), config)
  const source: ModelSource = { weightsPath, config, precision: 'fp32' }
  const size = statSync(weightsPath).size
  await sleep(SETTLED_MS)
  const bytesRead = () => Number(/^rchar: (\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))![1])
  const { directory, model } = await modelFromCache(source, cache)
  t.equal(model.content.files[0]!.pieces.length, 2)
  const before = bytesRead()
  await modelFromCache(source, cache, { onStage: whileLowering(() => t.fail('nothing is lowered')) })
  const read = bytesRead() - before
  const lowered = statSync(join(directory, 'weights.bin')).size
  t.ok(read > lowered && read < lowered + size / 4, `${read} bytes read; the lowered weights have ${lowered}`)
})
