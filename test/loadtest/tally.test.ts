import t from 'tap'
import { Tally } from '../../loadtest/tally.js'

t.test('answers that do not count are served, and nothing else', async t => {
  const tally = new Tally()
  tally.answered(0, 10, 100)
  tally.counting = false
  tally.answered(0, 5000, 100)
  tally.answered(1, 5000, 100)
  tally.counting = true
  tally.answered(1, 20, 100)
  t.equal(tally.served, 4)
  t.equal(tally.answers, 2)
  t.equal(tally.stale, 0)
  t.equal(Math.round(tally.percentile(100)), 20)
  t.equal(tally.leastShare(2), 1)
})
