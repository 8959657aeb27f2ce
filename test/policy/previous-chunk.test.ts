import { readFileSync } from 'node:fs'
import t from 'tap'
import { JOINT_TRANSFORMS } from '../../src/policy/joint-transform.js'
import type { FeatureStats } from '../../src/policy/norm-stats.js'
import { type Normalisation, Normaliser } from '../../src/policy/normalise.js'
import { PreviousChunks } from '../../src/policy/previous-chunk.js'
import { Safetensors } from '../../src/storage/safetensors.js'
import { golden } from '../support/checkpoint.js'

const float64 = (values: number[] | null | undefined) => (values ? Float64Array.from(values) : undefined)

const farthest = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.max(a.length === b.length ? 0 : Infinity, ...Array.from(a, (x, i) => Math.abs(x - b[i]!)))

interface Info {
  executed_rows: number
  delta_mask: boolean[] | null
  action_dims: number
}

t.test('previous chunks come back as openpi brings actions into training', async t => {
  const tensors = Safetensors.open(golden('rtc/reanchor_openpi.safetensors'))
  t.teardown(() => tensors.close())
  const infos = JSON.parse(tensors.metadata['info']!) as Record<string, Info>
  t.strictSame(Object.keys(infos).sort(), [
    'pi05_aloha',
    'pi05_droid',
    'pi05_full_droid_jointpos',
    'pi05_libero',
  ])
  for (const [policy, info] of Object.entries(infos)) {
    const read = (name: string) => new Float64Array(tensors.bytes(`${policy}.${name}`).slice().buffer)
    const { actions } = JSON.parse(
      readFileSync(golden(`policies/${policy}/norm_stats.json`), 'utf8'),
    ).norm_stats
    const stats: FeatureStats = {
      mean: float64(actions.mean)!,
      std: float64(actions.std)!,
      q01: float64(actions.q01)!,
      q99: float64(actions.q99)!,
    }
    const chunks = new PreviousChunks({
      actionSize: info.action_dims,
      actionDim: 32,
      deltaMask: info.delta_mask ?? undefined,
      joints: policy === 'pi05_aloha' ? JOINT_TRANSFORMS.aloha : undefined,
      normaliser: new Normaliser(stats, 'quantile'),
    })
    const [before, now] = [read('state_old'), read('state_new')]
    const robot = read('in.prev_actions')
    const expected = read('out.prev_chunk')
    t.ok(farthest(chunks.fromRobot(robot, now), expected) <= 1e-9, `${policy}: new state`)
    const same = read('out.prev_chunk_same_state')
    t.ok(farthest(chunks.fromRobot(robot, before), same) <= 1e-9, `${policy}: same state`)

    // A chunk kept by the server: the executed rows in front, anything in the padding.
    const executed = info.executed_rows
    const kept = new Float32Array(executed * 32 + same.length).fill(7)
    kept.set(same, executed * 32)
    for (let i = info.action_dims; i < kept.length; i += 32) kept.fill(7, i, i - info.action_dims + 32)
    const moved = chunks.fromServed({ actions: kept, state: before }, executed, now)
    const rounded = 2 ** -24 * Math.max(...same.map(Math.abs))
    t.ok(farthest(moved, expected) <= rounded + 1e-9, `${policy}: kept by the server`)
    if (!info.delta_mask) t.strictSame(moved, Float64Array.from(new Float32Array(expected)), 'bit for bit')
  }
})

t.test('relative actions are anchored anew as LeRobot does it', async t => {
  const { rows } = JSON.parse(readFileSync(golden('rtc/reanchor_lerobot.json'), 'utf8')) as {
    rows: {
      normalisation: 'QUANTILES' | 'MEAN_STD' | null
      mask: boolean[]
      stats: Record<'mean' | 'std' | 'q01' | 'q99', number[]>
      prev_absolute: number[][]
      state: number[]
      out: number[][]
    }[]
  }
  const kinds: Record<string, Normalisation> = { QUANTILES: 'quantile', MEAN_STD: 'zscore' }
  const normalised = rows.filter(row => row.normalisation)
  t.equal(normalised.length, 4)
  for (const { normalisation, mask, stats, prev_absolute, state, out } of normalised) {
    const features = {
      mean: float64(stats.mean)!,
      std: float64(stats.std)!,
      q01: float64(stats.q01)!,
      q99: float64(stats.q99)!,
    }
    const chunks = new PreviousChunks({
      actionSize: 4,
      actionDim: 4,
      deltaMask: mask,
      joints: undefined,
      normaliser: new Normaliser(features, kinds[normalisation!]!, 'lerobot'),
    })
    const previous = chunks.fromRobot(Float64Array.from(prev_absolute.flat()), Float64Array.from(state))
    const worst = Math.max(...out.flat().map((x, i) => Math.abs(x - previous[i]!) / Math.max(1, Math.abs(x))))
    t.ok(worst <= 1e-5, `${normalisation}: ${worst}`)
  }
})

t.test('a moved anchor shifts a kept z-score chunk by the offset in its units', async t => {
  const stats = { mean: Float64Array.of(1, 2), std: Float64Array.of(0.5, 4) }
  const chunks = new PreviousChunks({
    actionSize: 2,
    actionDim: 3,
    deltaMask: [true, false],
    joints: undefined,
    normaliser: new Normaliser(stats, 'zscore'),
  })
  const chunk = { actions: new Float32Array([9, 9, 9, 1, 2, 3]), state: Float64Array.of(10, 20) }
  const moved = chunks.fromServed(chunk, 1, Float64Array.of(9, 30))
  t.ok(farthest(moved, [1 + 1 / (0.5 + 1e-6), 2, 0]) <= 1e-12)
})
