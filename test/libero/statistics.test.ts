import t from 'tap'
import { wilsonInterval } from '../../src/commands/eval/report.js'
import { mcnemar, percentile } from '../../tools/libero/eval/statistics.js'

t.test('the intervals are those of Newcombe 1998 (Statistics in Medicine 17:857), method 3', async t => {
  const published = [
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
  ] as const
  for (const [successes, count, ...interval] of published)
    t.same(
      wilsonInterval(successes, count).map(bound => Number(bound.toFixed(4))),
      interval,
      `${successes} of ${count}`,
    )
})

t.test('the exact McNemar test', async t => {
  // Fagerland, Lydersen and Laake 2013 (BMC Medical Research Methodology 13:91), the exact conditional test.
  t.ok(Math.abs(mcnemar(1, 7) - 0.07) < 0.0006, 'airway hyper-responsiveness: p = 0.070')
  t.ok(Math.abs(mcnemar(6, 16) - 0.053) < 0.0006, 'complete response: p = 0.053')
  t.equal(mcnemar(16, 6), mcnemar(6, 16), 'which setting is the first does not matter')
  t.equal(mcnemar(0, 0), 1, 'no pair differs')
  t.equal(mcnemar(5, 5), 1)
  t.equal(mcnemar(0, 5), 2 / 2 ** 5, 'all five pairs on one side')
  t.equal(mcnemar(0, 10), 2 / 2 ** 10)
  t.equal(mcnemar(1, 9).toFixed(4), '0.0215', 'tables of the sign test, n = 10')
  t.equal(mcnemar(3, 14).toFixed(4), '0.0127', 'tables of the sign test, n = 17')
  t.ok(mcnemar(300, 700) < 1e-30, 'hundreds of pairs do not underflow')
  t.ok(mcnemar(2400, 2500) > 0.1 && mcnemar(2400, 2500) < 0.2, 'nor do thousands')
})

t.test('a percentile is a value that was measured', async t => {
  const values = Array.from({ length: 100 }, (_, index) => 100 - index)
  t.equal(percentile(values, 0.5), 50)
  t.equal(percentile(values, 0.99), 99)
  t.equal(percentile([7], 0.99), 7)
})
