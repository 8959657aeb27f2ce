import t from 'tap'
import { runEpisode } from '../../src/commands/eval/episode.js'
import type { GuardFinding } from '../../src/contract/guard.js'
import type { Observation, ObservationImage } from '../../src/contract/observation.js'
import { loadPolicy } from '../../src/policy/loading/load.js'
import { IMAGE_SIZE } from '../../src/tabletop/drawing.js'
import type { TabletopObservation } from '../../src/tabletop/episode.js'
import { stoppedClock } from '../support/clock.js'
import { repositoryPath, servePolicy } from '../support/served-policy.js'

/** Ticks of 100 ms that a chunk is played. */
const EXECUTE = 5
const EPISODES = 6

const TABLETOP = repositoryPath('policies/tabletop')
const { service, app, close } = await servePolicy(TABLETOP)
t.teardown(close)
const policy = await loadPolicy(TABLETOP)
t.teardown(() => policy.close())

/** What is wrong with a robot. */
type Fault = (observation: Observation) => Observation

const picture = (data: Uint8Array): ObservationImage => ({
  kind: 'array',
  dtype: 'uint8',
  shape: [IMAGE_SIZE, IMAGE_SIZE, 3],
  data,
})

const seen = ({ image, wristImage, state, prompt }: TabletopObservation): Observation => ({
  images: { 'observation/image': picture(image), 'observation/wrist_image': picture(wristImage) },
  state: { 'observation/state': state },
  prompt,
})

const withState = (change: (state: Float64Array) => void): Fault => {
  return ({ state, ...rest }) => {
    const changed = state['observation/state']!.slice()
    change(changed)
    return { ...rest, state: { 'observation/state': changed } }
  }
}

const swapped = (i: number, j: number) =>
  withState(state => {
    const value = state[i]!
    state[i] = state[j]!
    state[j] = value
  })

/** The bundled policy acts in six episodes of a robot with a fault; time is the simulation's. */
async function act(fault: Fault): Promise<GuardFinding[]> {
  const watch = policy.watch()
  const found: GuardFinding[] = []
  let at = 0
  for (let index = 0; index < EPISODES; index += 1) {
    watch.startOver()
    await runEpisode({ episodes: EPISODES, execute: EXECUTE, seed: 40 }, index, async (observed, seed) => {
      const observation = fault(seen(observed))
      const odd = watch.see(observation, at)
      const answer = await service.infer(observation, { noise: seed, steps: 3 }, { session: 'computes' })
      found.push(
        ...watch.answer({ ...answer, guard: { ...answer.guard, findings: [] } }, odd, undefined, at).guard
          .findings,
      )
      at += EXECUTE * 100
      const { actions, actionSize, horizon } = answer
      return Array.from({ length: horizon }, (_, row) => [
        ...actions.subarray(row * actionSize, (row + 1) * actionSize),
      ])
    })
  }
  return found
}

const named = (findings: readonly GuardFinding[]) => [
  ...new Set(findings.map(({ kind, joint }) => `${kind}: ${joint}`)),
]

t.test('nothing is found in a robot that is well', async t => {
  t.same(named(await act(observation => observation)), [])
})

t.test('each two joints that have changed places are named', async t => {
  for (const [i, j, names] of [
    [0, 1, 'x and y'],
    [0, 2, 'x and z'],
    [1, 2, 'y and z'],
  ] as const)
    t.match(named(await act(swapped(i, j))), [`joints_swapped: ${names}`], names)
})

t.test('a joint whose sensor stands still is named', async t => {
  const found = named(
    await act(
      withState(state => {
        state[1] = 0.5
      }),
    ),
  )
  t.same(found, ['state_stuck: y'])
})

t.test('a reading of 1e6 and a frozen camera are named', async t => {
  const wild = named(
    await act(
      withState(state => {
        state[0] = 1e6
      }),
    ),
  )
  t.ok(wild.includes('state_bounds: x'), `${wild}`)
  let first: ObservationImage | undefined
  const frozen = await act(({ images, ...rest }) => {
    first ??= images['observation/wrist_image']!
    return { ...rest, images: { ...images, 'observation/wrist_image': first } }
  })
  t.ok(named(frozen).includes('camera_frozen: observation/wrist_image'), `${named(frozen)}`)
})

t.test('what is found is in answers and counted', async t => {
  const pass = stoppedClock(t)
  const fault = swapped(0, 1)
  const kinds = new Set<string>()
  for (let index = 0; index < EPISODES; index += 1) {
    service.startOver('swapped')
    await runEpisode({ episodes: EPISODES, execute: EXECUTE, seed: 40 }, index, async (observed, seed) => {
      const { actions, actionSize, horizon, guard } = await service.infer(
        fault(seen(observed)),
        { noise: seed, steps: 3 },
        { session: 'swapped' },
      )
      for (const { kind } of guard.findings) kinds.add(kind)
      pass(EXECUTE * 100)
      return Array.from({ length: horizon }, (_, row) => [
        ...actions.subarray(row * actionSize, (row + 1) * actionSize),
      ])
    })
  }
  t.ok(kinds.has('joints_swapped'), [...kinds].join())
  service.events.flush()
  const { body } = await app.inject('/metrics')
  t.match(body, /^turbo_pi_guard_findings_total\{[^}]*kind="joints_swapped"[^}]*\} [1-9]/m)
})
