import { readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import t from 'tap'
import { NdArray } from '../../src/contract/msgpack.js'
import { type Observation, payloadOf } from '../../src/contract/observation.js'
import type { Recorded, RecordedObservation } from '../../src/recording/recorded.js'
import { stoppedClock } from '../support/clock.js'
import { fakeObservation } from '../support/fake-policy.js'
import { allOf, fakeRecorder, filesIn } from '../support/recording.js'

const observations = (all: readonly Recorded[]) =>
  all.filter((one): one is RecordedObservation => one.kind === 'observation')

t.test('an observation is recorded as it came, and its chunk as it was computed', async t => {
  const directory = t.testdir({})
  const { service, recorder } = await fakeRecorder(directory)
  recorder.start()
  const seen = fakeObservation(3, 77)
  const noise = Float32Array.from({ length: 8 }, (_, at) => at / 3)
  const caller = { session: 'arm-1', robot: 'arm-1', seq: 12 }
  const first = await service.infer(seen, {}, caller)
  await service.infer(
    { ...seen, state: { 'observation/state': Float64Array.of(-0.1, 5e-324) } },
    { steps: 3 },
    caller,
  )
  await service.infer(fakeObservation(4), {}, { session: 'somebody' })
  service.startOver('arm-1', 'arm-1')
  service.superseded('arm-1', 'arm-1')
  await service.infer(seen, { noise }, { ...caller, deadlineMs: -1 }).catch(() => {})
  service.events.emit('reported', {
    ...caller,
    at: performance.now(),
    executed: [{ action: [1, 2], at: performance.now(), seq: 12, row: 1 }],
    marks: [{ kind: 'success', at: performance.now(), text: 'in the bowl' }],
  })
  service.events.flush()
  const status = await recorder.stop()
  t.match(status, { recording: false, observations: 3, dropped: 0, files: 1, file: null })
  const [file] = filesIn(directory)
  t.equal(statSync(file!).mode & 0o777, 0o600)
  const all = await allOf(file!)
  t.match(all[0], { kind: 'policy', note: { served: 'fake', policy: 'fake', model: first.model } })
  const [one, two, three] = observations(all)
  t.match(one, {
    robot: 'arm-1',
    session: 'arm-1',
    seq: 12,
    noise: 7,
    steps: 2,
    leftOut: [],
    lossy: [],
    model: first.model,
    observation: { prompt: 'do it' },
  })
  t.same(one!.observation.images, seen.images)
  t.same(one!.network, first.served.actions)
  t.same(one!.actions.flat(), [...first.actions])
  t.same([...two!.observation.state['observation/state']!], [-0.1, 5e-324], 'every number as it came')
  t.equal(two!.steps, 3)
  t.equal(three!.robot, null)
  const others = all.filter(({ kind }) => kind !== 'observation' && kind !== 'policy')
  t.match(
    others.find(({ kind }) => kind === 'error'),
    { code: 'DEADLINE_EXCEEDED', robot: 'arm-1' },
  )
  t.match(
    others.find(({ kind }) => kind === 'executed'),
    { action: [1, 2], seq: 12, row: 1 },
  )
  t.match(
    others.find(({ kind }) => kind === 'mark'),
    { mark: 'success', text: 'in the bowl' },
  )
  t.ok(others.some(({ kind }) => kind === 'reset') && others.some(({ kind }) => kind === 'skipped'))
  await recorder.close()
  await service.close()
})

t.test('cameras are recorded as files, arrays, JPEG, or not at all', async t => {
  const pixels = Buffer.alloc(16 * 16 * 3, 90)
  const file = await sharp(pixels, { raw: { width: 16, height: 16, channels: 3 } })
    .png()
    .toBuffer()
  const floats = new NdArray(
    '<f4',
    [3, 2, 2],
    new Uint8Array(Float32Array.from({ length: 12 }, (_, at) => at / 12).buffer),
  )
  const forms: Observation['images'][string][] = [
    { kind: 'encoded', bytes: file },
    { kind: 'array', dtype: 'uint8', shape: [16, 16, 3], data: pixels },
    { kind: 'floats', array: floats },
  ]
  const kinds: Record<string, unknown[]> = {}
  for (const cameras of ['exact', 'jpeg', 'off'] as const) {
    const directory = t.testdir({})
    const { service, recorder } = await fakeRecorder(directory, { cameras })
    recorder.start()
    for (const image of forms) {
      const seen = { ...fakeObservation(1), images: { 'observation/image': image } }
      await service.infer(seen, { noise: 1 }, { session: 'a', robot: 'a' })
    }
    service.events.flush()
    await recorder.stop()
    const found = observations(await allOf(filesIn(directory)[0]!))
    kinds[cameras] = found.map(({ observation, leftOut, lossy }) => [
      observation.images['observation/image']?.kind,
      leftOut.length,
      lossy.length,
    ])
    if (cameras === 'exact') {
      t.same(found[0]!.observation.images['observation/image'], {
        kind: 'encoded',
        bytes: new Uint8Array(file),
      })
      const made = found[2]!.observation.images['observation/image']!
      t.match(made, { shape: [2, 2, 3] })
      t.same([...payloadOf(made).subarray(0, 3)], [0, 85, 170], 'channels last, trunc(255·x)')
    }
    await recorder.close()
    await service.close()
  }
  t.same(kinds, {
    exact: [
      ['encoded', 0, 0],
      ['array', 0, 0],
      ['array', 0, 0],
    ],
    jpeg: [
      ['encoded', 0, 0],
      ['encoded', 0, 1],
      ['encoded', 0, 1],
    ],
    off: [
      [undefined, 1, 0],
      [undefined, 1, 0],
      [undefined, 1, 0],
    ],
  })
})

t.test('what has no room on its way is dropped, counted and said in the file', async t => {
  // A line of the log is followed by the next after ten seconds.
  stoppedClock(t)
  const directory = t.testdir({})
  const { service, recorder, logged } = await fakeRecorder(directory, { ringBytes: 2 ** 13 })
  recorder.start()
  const ask = (seen: Observation) => service.infer(seen, {}, { session: 'a', robot: 'a' })
  for (let token = 0; token < 39; token += 1) await ask(fakeObservation(token))
  // However fast the file is written, this one is larger than all the room.
  const image = {
    kind: 'array',
    dtype: 'uint8',
    shape: [64, 64, 3],
    data: new Uint8Array(64 * 64 * 3),
  } as const
  await ask({ ...fakeObservation(39), images: { 'observation/image': image } })
  service.events.flush()
  const { dropped, observations: handed } = recorder.status
  t.equal(handed, 40)
  t.ok(dropped > 0, `${dropped} dropped`)
  t.match(await recorder.registry.metrics(), new RegExp(`turbo_pi_recording_dropped_total ${dropped}`))
  t.same(logged.filter(text => /missing/.test(text)).length, 1, 'not a line each')
  await recorder.stop()
  const all = await allOf(filesIn(directory)[0]!)
  const told = all.flatMap(one => (one.kind === 'dropped' ? [one.records] : []))
  t.equal(
    told.reduce((sum, records) => sum + records, 0),
    dropped,
  )
  t.equal(observations(all).length, 40 - dropped)
  await recorder.close()
  await service.close()
})

t.test('robots are recorded by name; what nobody asked for is not', async t => {
  const directory = t.testdir({})
  const { service, recorder } = await fakeRecorder(directory)
  const ask = async (robot: string) => {
    await service.infer(fakeObservation(1), {}, { session: robot, robot })
    service.events.flush()
  }
  await ask('a')
  recorder.start(['a'])
  await ask('a')
  await ask('b')
  t.match(recorder.status, { recording: true, robots: ['a'], observations: 1 })
  await recorder.stop(['a'])
  await ask('a')
  t.equal(recorder.status.recording, false)
  recorder.start()
  await recorder.stop(['a'])
  await ask('a')
  await ask('b')
  await recorder.stop()
  const files = filesIn(directory)
  t.equal(files.length, 2)
  const robots = await Promise.all(
    files.map(async file => observations(await allOf(file)).map(({ robot }) => robot)),
  )
  t.same(robots, [['a'], ['b']])
  await recorder.close()
  await service.close()
})

t.test('a file is followed by the next when it is large, or old', async t => {
  for (const limits of [{ maxBytes: 1 }, { maxMs: 0 }]) {
    const directory = t.testdir({})
    const { service, recorder } = await fakeRecorder(directory, limits)
    recorder.start()
    for (let token = 0; token < 3; token += 1) {
      await service.infer(fakeObservation(token), {}, { session: 'a' })
      service.events.flush()
    }
    await recorder.stop()
    const files = filesIn(directory)
    t.equal(files.length, 3)
    for (const file of files)
      t.same(
        (await allOf(file)).map(({ kind }) => kind),
        ['policy', 'observation'],
      )
    await recorder.close()
    await service.close()
  }
})

t.test('a disk that is too full, or takes nothing, costs no answer and is said', async t => {
  const place = t.testdir({ file: 'no directory' })
  for (const options of [{ minFree: Number.MAX_SAFE_INTEGER }, { directory: join(place, 'file') }]) {
    const directory = join(place, 'recordings')
    const { service, recorder, logged } = await fakeRecorder(directory, options)
    recorder.start()
    await service.infer(fakeObservation(1), {}, { session: 'a' })
    service.events.flush()
    t.match(await recorder.stop(), {
      dropped: 1,
      file: null,
      files: 0,
      paused: /free in|not a directory|EEXIST|ENOTDIR/,
    })
    t.ok(logged.some(text => /stands still/.test(text)))
    t.equal((await service.infer(fakeObservation(2), {}, { session: 'a' })).late, false)
    await recorder.close()
    await service.close()
  }
})

t.test('a link in the place of a file is not followed', async t => {
  const directory = t.testdir({ victim: 'precious' })
  const { service, recorder } = await fakeRecorder(directory)
  const now = new Date()
  // Names hold the second: those of the next seconds are taken.
  for (let second = 0; second < 60; second += 1) {
    const stamp = new Date(now.getTime() + second * 1000).toISOString().replaceAll(/[-:]|\.\d+/g, '')
    symlinkSync(join(directory, 'victim'), join(directory, `fake-${stamp}-001.mcap`))
  }
  recorder.start()
  await service.infer(fakeObservation(1), {}, { session: 'a' })
  service.events.flush()
  await recorder.stop()
  t.ok(filesIn(directory).some(file => file.endsWith('-002.mcap')))
  await recorder.close()
  await service.close()
  t.equal(readFileSync(join(directory, 'victim'), 'utf8'), 'precious')
})

t.test('a file that is cut anywhere is read up to its last whole chunk', async t => {
  const directory = t.testdir({})
  const { service, recorder } = await fakeRecorder(directory)
  recorder.start()
  // Chunks of 64 KiB: pictures of 48 kB make about one an observation.
  const data = new Uint8Array(128 * 128 * 3).map((_, at) => at * 7)
  for (let token = 0; token < 12; token += 1) {
    const image = { kind: 'array', dtype: 'uint8', shape: [128, 128, 3], data } as const
    await service.infer(
      { ...fakeObservation(token), images: { 'observation/image': image } },
      {},
      { session: 'a' },
    )
    service.events.flush()
  }
  await recorder.stop()
  const [file] = filesIn(directory)
  const whole = readFileSync(file!)
  const cut = join(t.testdir({}), 'cut.mcap')
  const chunks = chunksOf(whole)
  t.ok(chunks.length > 5, `${chunks.length} chunks`)
  let random = 1
  for (let round = 0; round < 100; round += 1) {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0
    const length = chunks[0]!.end + (random % (whole.length - chunks[0]!.end))
    writeFileSync(cut, whole.subarray(0, length))
    const all = await allOf(cut)
    const last = all.at(-1)!
    t.equal(last.kind, 'cut')
    const within = chunks.filter(({ end }) => end <= length)
    t.equal(observations(all).length, within.at(-1)!.answered, `${length} bytes, ${within.length} chunks`)
  }
  await recorder.close()
  await service.close()
})

/** Where each chunk of a file ends, and how many answers there are up to it, by MCAP's records alone. */
function chunksOf(file: Buffer): { end: number; answered: number }[] {
  const found: { end: number; answered: number }[] = []
  let answered = 0
  for (let at = 8; at < file.length - 8; ) {
    const [opcode, length] = [file[at]!, Number(file.readBigUInt64LE(at + 1))]
    const end = at + 9 + length
    if (opcode === 0x06) {
      // A message whose JSON tells of the network's actions is a chunk of actions.
      answered += file.subarray(at, end).toString('latin1').split('"network_actions":"').length - 1
      found.push({ end, answered })
    }
    at = end
  }
  return found
}
