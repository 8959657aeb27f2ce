import t from 'tap'
import { checkSampling, sameBatch, samplingRows } from '../../src/families/pi0/sampling.js'
import { tinyModel } from '../support/fake-runtime.js'

t.test('a call takes one sampling a row, all of the same steps', async t => {
  const numbers = { steps: 3, noise: new Float32Array(6) }
  const seed = { steps: 3, noise: 2 ** 32 - 1 }
  checkSampling([numbers, seed], 2, tinyModel)
  const bad: [Parameters<typeof checkSampling>[0], RegExp][] = [
    [[numbers], /a prefix of 2 rows takes 2 samplings, got 1/],
    [[seed, { steps: 4, noise: 0 }], /row 0 has 3, row 1 4/],
    [[seed, { steps: 3, noise: new Float32Array(5) }], /row 1: noise has 5 numbers; expected 2×3/],
    ...[0, 51, 1.5, Number.NaN].map((steps): [Parameters<typeof checkSampling>[0], RegExp] => [
      [{ steps, noise: 0 }, seed],
      /row 0: steps must be an integer from 1 to 50/,
    ]),
    ...[-1, 2 ** 32, 0.5].map((noise): [Parameters<typeof checkSampling>[0], RegExp] => [
      [seed, { steps: 3, noise }],
      /row 1: the seed must be an integer from 0 to 4294967295/,
    ]),
  ]
  for (const [sampling, message] of bad)
    t.throws(() => checkSampling(sampling, 2, tinyModel), { code: 'RUNTIME_FAILED', message })
})

t.test('rows share an engine call when their steps are equal', async t => {
  t.ok(sameBatch({ steps: 3, noise: 1 }, { steps: 3, noise: 2 }))
  t.notOk(sameBatch({ steps: 3, noise: 1 }, { steps: 4, noise: 1 }))
})

t.test('numbers of a batch are cut into its rows', async t => {
  t.same(samplingRows(Float32Array.of(1, 2, 3, 4), 2, 5), [
    { steps: 5, noise: Float32Array.of(1, 2) },
    { steps: 5, noise: Float32Array.of(3, 4) },
  ])
})
