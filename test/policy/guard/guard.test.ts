import t from 'tap'
import { type GuardFinding, MOST_FINDINGS } from '../../../src/contract/guard.js'
import type { ObservationImage } from '../../../src/contract/observation.js'
import { checkEmbodiment, EMBODIMENTS, type Embodiment } from '../../../src/policy/embodiment.js'
import { blackCamera, FrozenCameras } from '../../../src/policy/guard/cameras.js'
import { Guard } from '../../../src/policy/guard/guard.js'
import { DEFAULT_GUARD, type GuardMode } from '../../../src/policy/guard/settings.js'
import type { FeatureStats, NormStats } from '../../../src/policy/norm-stats.js'
import { smallConfig } from '../../families/models.js'

const { joints: _, ...libero } = EMBODIMENTS.libero
const robot: Embodiment = {
  ...libero,
  name: 'two joints',
  state: [{ key: 'state', size: 2, description: '' }],
  actionSize: 2,
}
// The width of a dimension is q99 − q01 + 1e-6, as in normalising (network §4.3).
const low = Float64Array.of(-1, 0)
const high = Float64Array.of(1 - 1e-6, 10 - 1e-6)
const zscore: FeatureStats = { mean: low, std: high }
const percentiles: FeatureStats = { ...zscore, q01: low, q99: high }
const stats: NormStats = { state: percentiles, actions: percentiles }
const none: NormStats = { state: zscore, actions: zscore }

const watch = (
  mode: GuardMode,
  rows: number[],
  {
    joints,
    from = stats,
    state = [0, 0],
  }: { joints?: Embodiment['joints']; from?: NormStats; state?: number[] } = {},
) => {
  const guard = new Guard(from, { ...DEFAULT_GUARD, mode }, { ...robot, ...(joints && { joints }) })
  const actions = Float64Array.from(rows)
  const now = Float64Array.from(state)
  const report = guard.chunk(actions, now, [], () => {})
  return { report, actions: [...actions] }
}

t.test('bounds of the norm stats', async t => {
  const rows = [0, 5, 1.9, 14.9, -2.1, 15.1]
  const reported = watch('report', rows)
  t.same(reported.actions, rows)
  t.match(reported.report, { outOfBounds: 2, clamped: false, bounds: 'percentiles' })
  t.match(reported.report.findings, [
    { kind: 'action_bounds', joint: 'action 0', row: 2, value: -2.1, limit: -2 },
    { kind: 'action_bounds', joint: 'action 1', row: 2, value: 15.1, limit: 15 - 1e-6 },
  ])
  const clamped = watch('clamp', rows)
  t.same(clamped.actions, [0, 5, 1.9, 14.9, -2, 15 - 1e-6])
  t.match(clamped.report, { outOfBounds: 2, clamped: true })
  t.throws(() => watch('refuse', rows), {
    code: 'ACTIONS_OUT_OF_BOUNDS',
    message: /^action 0 of row 2 is -2\.1, past the bound of the norm stats, -2\. Nothing was sent/,
  })
  const many = watch('report', new Array(100).fill(1e6)).report
  t.same([many.outOfBounds, many.findings.length], [100, MOST_FINDINGS], 'all are counted, some are told')
})

t.test('statistics without percentiles', async t => {
  const extremes = { ...zscore, min: low, max: high }
  const { report } = watch('clamp', [9, 5], { from: { state: extremes, actions: extremes } })
  t.match(report, { outOfBounds: 1, clamped: true, bounds: 'extremes' })
  t.match(watch('report', [1e9, 0], { from: none }).report, { outOfBounds: 0, bounds: null, findings: [] })
  for (const mode of ['clamp', 'refuse'] as const)
    t.throws(() => watch(mode, [0, 0], { from: none }), {
      code: 'POLICY_INVALID',
      message: new RegExp(`guard is to ${mode}, but the norm stats have neither q01 and q99 nor min and max`),
    })
  t.match(new Guard(none, DEFAULT_GUARD, robot).description, /^report: no bounds, since the statistics/)
  const limited = watch('clamp', [7, 0], { from: none, joints: [{ name: 'lift', max: 5 }, { name: 'grip' }] })
  t.same(limited.actions, [5, 0], 'limits of joints are limits enough')
})

t.test('what is not finite is never sent', async t => {
  for (const bad of [Number.NaN, Infinity])
    t.throws(() => watch('report', [0, bad], { from: none }), {
      code: 'ACTIONS_NOT_FINITE',
      message: /^action 1 of row 0 is/,
    })
})

t.test('limits of joints', async t => {
  const joints = [
    { name: 'shoulder', unit: 'rad', min: -0.5, max: 0.5, step: 0.2, first: 0.1 },
    { name: 'gripper' },
  ]
  const rows = [0.3, 1, 0.35, 9, 0.9, 2]
  const { report, actions } = watch('report', rows, { joints })
  t.same(actions, rows)
  t.match(report.findings, [
    { kind: 'first_action', joint: 'shoulder (rad)', row: 0, value: 0.3, limit: 0.1 },
    { kind: 'joint_position', joint: 'shoulder (rad)', row: 2, value: 0.9, limit: 0.5 },
    { kind: 'joint_step', row: 2, limit: 0.2 },
  ])
  const clamped = watch('clamp', rows, { joints }).actions
  t.same(
    clamped.map(value => Math.round(value * 1e9) / 1e9),
    [0.1, 1, 0.3, 9, 0.5, 2],
    'each row is brought within reach of the one before it',
  )
  t.same(watch('report', [0.3, 1], { joints, state: [0.25, 0] }).report.findings, [], 'near the state')
  t.throws(() => watch('refuse', rows, { joints }), {
    code: 'ACTIONS_OUT_OF_BOUNDS',
    message: /^shoulder \(rad\) of row 0 is 0\.3, past its limit of distance from the state, 0\.1/,
  })
})

const image = (pixel: number): ObservationImage => ({
  kind: 'array',
  dtype: 'uint8',
  shape: [8, 8, 3],
  data: new Uint8Array(192).fill(pixel),
})

function robotWatch(mode: GuardMode) {
  const watch = new Guard(stats, { ...DEFAULT_GUARD, mode }, robot).watch(({ state }) => state['state']!)
  return (state: number[], at: number, pixel = at) =>
    watch.see({ state: { state: Float64Array.from(state) }, images: { camera: image(pixel) } }, at)
}

t.test('a state far from what was trained on', async t => {
  t.match(robotWatch('report')([1e6, 0], 0), [
    { kind: 'state_bounds', joint: 'state[0]', row: null, value: 1e6 },
  ])
  t.throws(() => robotWatch('refuse')([1e6, 0], 0), {
    code: 'OBSERVATION_INVALID',
    message: /^state\[0\] is 1000000, far outside the norm stats, whose limit is .* Nothing was computed/,
  })
  t.match(robotWatch('report')([8, 0.5], 0), [{ kind: 'state_bounds', joint: 'state[0]' }], 'swapped joints')
  t.same(robotWatch('refuse')([0.9, 9], 0), [])
})

t.test('a state that jumps', async t => {
  const see = robotWatch('report')
  t.same(see([0, 0], 0), [], 'the first one jumps from nowhere')
  t.same(see([2.9, 10], 100), [])
  t.match(see([-2.9, 10], 200), [{ kind: 'state_jump', joint: 'state[0]', value: 5.8 }])
  t.same(see([2.9, 10], 5000), [], 'after a pause the robot may stand elsewhere')
})

t.test('a frozen camera', async t => {
  const see = robotWatch('report')
  t.same(see([0, 0], 0, 7), [])
  t.same(see([0, 0], 1900, 7), [])
  t.match(see([0, 0], 2000, 7), [{ kind: 'camera_frozen', joint: 'camera', value: 2, limit: 2 }])
  t.same(see([0, 0], 2100, 8), [], 'it moves again')
  const refusing = robotWatch('refuse')
  refusing([0, 0], 0, 7)
  t.throws(() => refusing([0, 0], 3000, 7), {
    code: 'OBSERVATION_INVALID',
    message: /^camera is 3, the number of seconds/,
  })
})

t.test('a camera that moves in a corner of its picture is not frozen', async t => {
  const cameras = new FrozenCameras()
  const see = (changed: number, at: number) => {
    const data = new Uint8Array(64 * 32 * 3)
    data[changed] = 255
    const found: GuardFinding[] = []
    cameras.see({ camera: { kind: 'array', dtype: 'uint8', shape: [64, 32, 3], data } }, at, found)
    return found
  }
  t.same(see(12, 0), [])
  t.same(see(24, 1500), [])
  t.same(see(36, 3000), [])
  t.same(see(36, 4900), [])
  t.match(see(36, 5000), [{ kind: 'camera_frozen', value: 2 }])
})

const mover: Embodiment = {
  ...robot,
  joints: [
    { name: 'lift', unit: 'm', moves: 'by' },
    { name: 'turn', unit: 'rad', moves: 'to' },
  ],
}

/** Observations every 200 ms, each answered by the same rows. */
function commanded(rows: number[], mode: GuardMode = 'report') {
  const watch = new Guard(stats, { ...DEFAULT_GUARD, mode }, mover).watch(({ state }) => state['state']!)
  const guard = { outOfBounds: 0, clamped: false, bounds: null, findings: [] }
  let at = 0
  return (...state: number[]) => {
    at += 200
    const found = watch.see({ state: { state: Float64Array.from(state) }, images: {} }, at)
    watch.answer({ actions: Float64Array.from(rows), actionSize: 2, guard }, [], undefined, at)
    return found
  }
}

t.test('a joint that is to move and stands still', async t => {
  const see = commanded([0.5, 3, 0.5, 3])
  for (let i = 0; i <= 9; i += 1) t.same(see(0, 0.1 * i), [], 'nine times may be chance')
  t.match(see(0, 1), [{ kind: 'state_stuck', joint: 'lift (m)', row: null, value: 10, limit: 10 }])
  t.same(see(0.1, 1.1), [], 'it moves')

  const to = commanded([0, 3, 0, 5])
  for (let i = 0; i <= 9; i += 1) to(0.1 * i, 4)
  t.match(to(1, 4), [{ kind: 'state_stuck', joint: 'turn (rad)' }], 'a target that changes commands a motion')
  const resting = commanded([0.01, 4, 0.01, 4])
  for (let i = 0; i < 30; i += 1) t.same(resting(0, 4), [], 'a robot at rest is not stuck')
  const refusing = commanded([0.5, 3], 'refuse')
  for (let i = 0; i <= 9; i += 1) refusing(0, 0.1 * i)
  t.throws(() => refusing(0, 1), {
    code: 'OBSERVATION_INVALID',
    message: /^lift \(m\) is 10, the number of observations in which it stood still/,
  })
})

t.test('the seam of two chunks', async t => {
  const joints = [{ name: 'lift', unit: 'm', seam: 0.5 }, { name: 'grip' }]
  const report = { outOfBounds: 0, clamped: false, bounds: null, findings: [] }
  const seams = (mode: GuardMode) => {
    const watch = new Guard(stats, { ...DEFAULT_GUARD, mode }, { ...robot, joints }).watch(
      () => new Float64Array(2),
    )
    const answer = (rows: number[], at: number, executed?: number[]) =>
      watch.answer(
        { actions: Float64Array.from(rows), actionSize: 2, guard: report },
        [],
        executed && Float64Array.from(executed),
        at,
      )
    return { watch, answer }
  }
  const { watch, answer } = seams('report')
  t.same(answer([5, 0, 6, 0], 0).guard.findings, [], 'the first chunk has none')
  t.same(answer([6.4, 9, 9, 0], 100).guard.findings, [], 'near to a row of the chunk before')
  t.match(answer([10, 0], 200).guard, {
    outOfBounds: 1,
    findings: [{ kind: 'seam', joint: 'lift (m)', row: 0, value: 1, limit: 0.5 }],
  })
  t.match(
    answer([10, 0], 300, [9, 0]).guard.findings,
    [{ kind: 'seam', value: 1 }],
    'of the row that was due, where it is known',
  )
  t.same(answer([0, 0], 9000).guard.findings, [], 'after a pause the robot may stand elsewhere')
  watch.startOver()
  t.same(answer([5, 0], 9100).guard.findings, [], 'and in a new episode')

  const clamping = seams('clamp')
  const rows = [2, 1, 3, 1]
  clamping.answer([0, 0], 0)
  const { actions, guard } = clamping.answer(rows, 100)
  t.same([...actions], [0.5, 1, 3, 1])
  t.match(guard, { outOfBounds: 1, clamped: true })
  const refusing = seams('hold')
  refusing.answer([0, 0], 0)
  t.throws(() => refusing.answer(rows, 100), {
    code: 'ACTIONS_OUT_OF_BOUNDS',
    message: /^lift \(m\) of row 0 is 2, past its limit of distance from the chunk before, 0\.5/,
  })
})

t.test('names alone are no limits', async t => {
  const named = { ...robot, joints: [{ name: 'a', unit: 'rad', moves: 'by' as const }, { name: 'b' }] }
  t.throws(() => new Guard(none, { ...DEFAULT_GUARD, mode: 'hold' }, named), { code: 'POLICY_INVALID' })
  t.notMatch(new Guard(stats, DEFAULT_GUARD, named).description, /limits of joints/)
})

t.test('a black camera', async t => {
  t.match(blackCamera('wrist', new Uint8Array(192).fill(3)), {
    kind: 'camera_black',
    joint: 'wrist',
    value: 3,
  })
  t.equal(blackCamera('wrist', new Uint8Array(192).fill(90)), undefined)
  const spot = new Uint8Array(224 * 224 * 3)
  spot.fill(200, 3000)
  t.equal(blackCamera('wrist', spot), undefined)
})

t.test('an embodiment whose limits cannot be meant is refused', async t => {
  const wrong = (changes: Partial<Embodiment>, message: RegExp) =>
    t.throws(() => checkEmbodiment({ ...robot, ...changes }, smallConfig()), {
      code: 'POLICY_INVALID',
      message,
    })
  const joint = { name: 'a' }
  wrong({ joints: [joint] }, /joints has 1 entries for 2 action numbers/)
  wrong({ joints: [joint, { name: 'b', min: 1, max: 1 }] }, /joint b has min 1 and max 1/)
  wrong(
    { joints: [joint, { name: 'b', first: 1 }], state: [{ key: 's', size: 1, description: '' }] },
    /joint b has "first", but the state has 1 numbers/,
  )
  wrong(
    { joints: [joint, { name: 'b', moves: 'by' }], state: [{ key: 's', size: 1, description: '' }] },
    /joint b has "moves", but the state has 1 numbers/,
  )
  wrong(
    { joints: [{ name: 'a', first: 1 }, joint], jointTransform: 'aloha' },
    /units differ under jointTransform/,
  )
  checkEmbodiment({ ...robot, joints: [joint, { name: 'b', first: 1, min: 0, max: 1 }] }, smallConfig())
})
