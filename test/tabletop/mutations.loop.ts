/**
 * The long evaluation, `npm run test:loop`: the policy as it is, and with faults that fidelity tests may miss. Each of
 * them must bring success down to 20 % or less.
 */
import t from 'tap'
import { loadPolicy } from '../../src/policy/loading/load.js'
import { repositoryPath } from '../support/served-policy.js'
import { actOnTabletop, solvedOf } from '../support/tabletop.js'
import { MUTATIONS } from './mutations.js'

t.setTimeout(1_200_000)

t.test('the policy as it is', async t => {
  const episodes = 100
  for (const steps of [10, 3]) {
    const policy = await loadPolicy(repositoryPath('policies/tabletop'))
    const solved = solvedOf(await actOnTabletop(policy, { episodes, seed: 50_000, steps }))
    t.comment(`${steps} denoise steps: ${solved} of ${episodes}`)
    t.ok(solved >= 97, `${steps} denoise steps: ${solved} of ${episodes}`)
  }
})

for (const [name, mutate] of Object.entries(MUTATIONS)) {
  t.test(name, async t => {
    const episodes = 20
    const policy = await mutate(t.testdir({}))
    const solved = solvedOf(await actOnTabletop(policy, { episodes, seed: 60_000, steps: 10 }))
    t.comment(`${name}: ${solved} of ${episodes}`)
    t.ok(solved <= 0.2 * episodes, `${solved} of ${episodes}`)
  })
}
