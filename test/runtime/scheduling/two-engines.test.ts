import { join } from 'node:path'
import t from 'tap'
import { TurboPiError } from '../../../src/errors.js'
import { cardSet } from '../../../src/runtime/card-set.js'
import { createCpuRuntime } from '../../../src/runtime/cpu/cpu-runtime.js'
import type { PerceiveRow, Runtime } from '../../../src/runtime/runtime.js'
import { Dispatcher } from '../../../src/runtime/scheduling/dispatcher.js'
import { smallConfig, writeModelDirectory } from '../../families/models.js'

const config = smallConfig()
const ROWS = 24

/** Observation `number`, which no other is like. */
const rowOf = (number: number): PerceiveRow => ({
  images: [new Uint8Array(config.vision.imageSize ** 2 * 3).fill(number), null, null],
  tokens: Int32Array.of(number, number + 1),
})

/** A real engine that stands for a card, and fails when it is told to. */
function faulty(runtime: Runtime, card: number) {
  const state = { broken: false, acts: 0, held: Promise.resolve(), onFailure: () => {} }
  const act: Runtime['act'] = async (prefixes, sampling, options) => {
    if (state.broken) {
      state.onFailure()
      throw new TurboPiError('RUNTIME_FAILED', 'the GPU session has failed')
    }
    await state.held
    state.acts += 1
    return runtime.act(prefixes, sampling, options)
  }
  const engine: Runtime = {
    info: { ...runtime.info, cards: [card] },
    perceive: (rows, options) => runtime.perceive(rows, options),
    act,
    trace: (rows, sampling) => runtime.trace(rows, sampling),
    close: () => runtime.close(),
  }
  return { engine, state }
}

t.test('two engines give what one gives, bit for bit, also while one of them fails', async t => {
  const folder = t.testdir()
  const weightsPath = writeModelDirectory(join(folder, 'model'), config)
  const open = () =>
    createCpuRuntime({ weightsPath, config, cache: folder, maxBatch: 1, threads: 1, visionCache: 4 })
  const ask = async (dispatcher: Dispatcher) => {
    const answers = Array.from({ length: ROWS }, (_, number) => {
      const ticket = dispatcher.admit({ session: `robot ${number % 5}` })
      return dispatcher.submit(ticket, rowOf(number), { steps: 3, noise: number })
    })
    return Promise.all(answers)
  }
  const alone = new Dispatcher(await open())
  const expected = (await ask(alone)).map(({ actions }) => Buffer.from(actions.slice().buffer))
  await alone.close()

  const cards = [faulty(await open(), 0), faulty(await open(), 1)] as const
  const changes: string[] = []
  const dispatcher = new Dispatcher(cardSet(cards.map(({ engine }) => engine)), {
    observer: { engine: ({ device, working, of }) => changes.push(`${device}: ${working} of ${of}`) },
  })
  t.teardown(() => dispatcher.close())
  const same = async (what: string) => {
    const answers = await ask(dispatcher)
    const differing = answers.filter(
      ({ actions }, at) => !Buffer.from(actions.slice().buffer).equals(expected[at]!),
    )
    t.equal(differing.length, 0, what)
  }
  await same('both work')
  t.ok(
    cards.every(({ state }) => state.acts > 0),
    `${cards.map(({ state }) => state.acts)} batches`,
  )
  const before = cards[0].state.acts
  cards[1].state.broken = true
  // However the two compare, the second one gets some of it.
  cards[0].state.held = new Promise(resolve => {
    cards[1].state.onFailure = resolve
  })
  await same('one fails between prefix and actions: the other perceives anew')
  t.equal(cards[0].state.acts - before, ROWS)
  t.same(changes, ['1: 1 of 2'])
  cards[1].state.broken = false
})
