import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { readRecording } from '../../src/recording/read.js'
import type { Recorded } from '../../src/recording/recorded.js'
import { Recorder, type RecorderOptions } from '../../src/recording/recorder.js'
import { Served } from '../../src/service/served.js'
import { PolicyService } from '../../src/service/service.js'
import { fakePolicy } from './fake-policy.js'
import { FakeRuntime } from './fake-runtime.js'

/** A recorder over a policy that pretends, which has started and records nothing yet. */
export async function fakeRecorder(directory: string, options: Partial<RecorderOptions> = {}) {
  const service = new PolicyService({
    policy: fakePolicy(),
    runtime: Promise.resolve(new FakeRuntime({ milliseconds: 0 })),
    drawSeed: () => 7,
  })
  await service.start()
  const logged: string[] = []
  const recorder = new Recorder(new Served(service, { name: 'fake' }), {
    directory,
    cameras: 'exact',
    maxBytes: 1e9,
    maxMs: 1e9,
    minFree: 0,
    log: { info: (_, text) => void logged.push(text), warn: (_, text) => void logged.push(text) },
    ...options,
  })
  return { service, recorder, logged }
}

export const filesIn = (directory: string) =>
  readdirSync(directory)
    .sort()
    .map(name => join(directory, name))

export async function allOf(file: string): Promise<Recorded[]> {
  const all: Recorded[] = []
  for await (const recorded of readRecording(file)) all.push(recorded)
  return all
}
