import t from 'tap'
import { MAX_STEPS as MOST_ASKED } from '../../src/contract/sampling.js'
import {
  checkSampling,
  drawn,
  MAX_STEPS,
  type SamplingRequest,
  sameBatch,
  sameSampling,
  samplingKey,
  samplingRows,
} from '../../src/families/pi0/sampling.js'
import { tinyModel } from '../support/fake-runtime.js'

t.test('a call takes one sampling a row, all of the same steps', async t => {
  const numbers = { steps: 3, noise: new Float32Array(6) }
  const seed = { steps: 3, noise: 2 ** 32 - 1 }
  checkSampling([numbers, seed], 2, tinyModel)
  const bad: [Parameters<typeof checkSampling>[0], RegExp][] = [
    [[numbers], /a batch of 2 rows takes 2 samplings, got 1/],
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

t.test('requests are the same when they draw from the same noise in as many steps', t => {
  const numbers = (last: number) => Float32Array.of(1, 2, last)
  const requests: SamplingRequest[] = [
    { steps: 3 },
    { steps: 4 },
    { steps: 3, noise: 0 },
    { steps: 3, noise: 1 },
    { steps: 3, noise: numbers(3) },
    { steps: 3, noise: numbers(4) },
  ]
  for (const a of requests) {
    for (const b of requests) t.equal(sameSampling(a, b), a === b)
  }
  const again: SamplingRequest = { steps: 3, noise: numbers(3) }
  t.ok(sameSampling(requests[4]!, again))
  t.equal(samplingKey(requests[4]!), samplingKey(again))
  t.end()
})

t.test('a seed is drawn for who brings no noise', t => {
  const seed = () => 7
  t.same(drawn({ steps: 3 }, seed), { steps: 3, noise: 7 })
  t.same(drawn({ steps: 3, noise: 0 }, seed), { steps: 3, noise: 0 })
  t.end()
})

t.test('callers may ask for as many steps as the network takes', t => {
  t.equal(MOST_ASKED, MAX_STEPS)
  t.end()
})
