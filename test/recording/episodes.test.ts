import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { command } from '../../src/commands/export-dataset.js'
import { type Episode, episodesOf } from '../../src/recording/dataset/episodes.js'
import { fakeObservation } from '../support/fake-policy.js'
import { fakeRecorder, filesIn } from '../support/recording.js'

/** A recording of one robot: numbers are observations, the rest is what it reports. */
async function recorded(
  directory: string,
  story: readonly (
    | number
    | { prompt: string }
    | { executed: number[] }
    | { mark: 'success' | 'failure' | 'intervention_start' }
    | 'reset'
  )[],
): Promise<string[]> {
  const { service, recorder } = await fakeRecorder(directory)
  recorder.start()
  const whose = { session: 'arm-1', robot: 'arm-1' }
  let prompt = 'lift it'
  for (const told of story) {
    const at = performance.now()
    if (typeof told === 'number') await service.infer({ ...fakeObservation(told), prompt }, {}, whose)
    else if (told === 'reset') service.startOver('arm-1', 'arm-1')
    else if ('prompt' in told) prompt = told.prompt
    else
      service.events.emit('reported', {
        ...whose,
        at,
        executed: 'executed' in told ? [{ action: told.executed, at }] : [],
        marks: 'mark' in told ? [{ kind: told.mark, at }] : [],
      })
    service.events.flush()
  }
  await recorder.stop()
  await recorder.close()
  await service.close()
  return filesIn(directory)
}

async function episodes(files: string[]): Promise<Episode[]> {
  const all: Episode[] = []
  for await (const episode of episodesOf(files, { gapMs: 60_000 }, () => {})) all.push(episode)
  return all
}

t.test('episodes end at marks, resets and other prompts; actions are those that were reported', async t => {
  const files = await recorded(t.testdir({}), [
    1,
    { executed: [10, 11] },
    { executed: [12, 13] },
    2,
    { mark: 'success' },
    3,
    { mark: 'intervention_start' },
    4,
    'reset',
    5,
    { prompt: 'put it down' },
    6,
    { mark: 'failure' },
  ])
  const found = await episodes(files)
  const told = found.map(({ task, success, frames }) => [
    task,
    success,
    frames.map(({ recorded: { observation } }) => observation.state['observation/state']![0]),
  ])
  t.same(told, [
    ['lift it', true, [1, 2]],
    ['lift it', null, [3, 4]],
    ['lift it', null, [5]],
    ['put it down', false, [6]],
  ])
  const [one, two] = found[0]!.frames
  t.match(one, { action: [10, 11], reported: true }, 'the first one after the observation')
  t.match(two, { reported: false })
  t.same(two!.action, two!.recorded.actions[0], 'else the first of the chunk')
  t.same(
    found[1]!.frames.map(({ intervention }) => intervention),
    [false, true],
  )
})

t.test('a dataset is not written over anything, and not made of nothing', async t => {
  const place = t.testdir({ recordings: {}, full: { 'precious.txt': 'mine' } })
  const [file] = await recorded(join(place, 'recordings'), [1, 2])
  await t.rejects(command.run([file!, '--to', join(place, 'full')]), {
    code: 'CONFIG_INVALID',
    message: /holds something/,
  })
  t.equal(readFileSync(join(place, 'full', 'precious.txt'), 'utf8'), 'mine')
  await t.rejects(command.run([file!, '--to', join(place, 'new'), '--robot', 'nobody']), {
    code: 'RECORDING_INVALID',
  })
  await t.rejects(command.run([file!, '--to', join(place, 'new'), '--only-reported']), {
    code: 'RECORDING_INVALID',
  })
  t.equal(await command.run([file!, '--to', join(place, 'made'), '--no-cameras', '--fps', '10']), 0)
  const info = JSON.parse(readFileSync(join(place, 'made/meta/info.json'), 'utf8')) as Record<string, unknown>
  t.match(info, { codebase_version: 'v3.0', fps: 10, total_frames: 2, total_episodes: 1 })
  t.notOk(Object.keys(info['features'] as object).some(name => name.startsWith('observation.images')))
  for (const path of ['data/chunk-000/file-000.parquet', 'meta/tasks.parquet', 'meta/stats.json'])
    t.ok(existsSync(join(place, 'made', path)), path)
})
