import t from 'tap'
import { ServiceEvents, type ServiceListener } from '../../src/service/events.js'
import { PolicyService, type ServiceParts } from '../../src/service/service.js'
import { fakeObservation, fakePolicy } from '../support/fake-policy.js'
import { FakeRuntime, settle } from '../support/fake-runtime.js'

async function serving(parts: Partial<ServiceParts> = {}) {
  const runtime = Promise.resolve(new FakeRuntime({ milliseconds: 0 }))
  const service = new PolicyService({ policy: fakePolicy(), runtime, drawSeed: () => 5, ...parts })
  await service.start()
  return service
}

const { prompt: _, ...silent } = fakeObservation(1)

t.test('listeners hear of a request and its answer, as they were computed', async t => {
  const service = await serving()
  const heard: [string, unknown][] = []
  service.events.listen({
    accepted: event => void heard.push(['accepted', event]),
    answered: event => void heard.push(['answered', event]),
  })
  const answer = await service.infer(silent, {}, { session: 'robot' })
  t.notOk(
    heard.some(([kind]) => kind === 'answered'),
    'the answer leaves first',
  )
  await settle()
  const resolved = { session: 'robot', observation: { prompt: 'do it' }, sampling: { steps: 2, noise: 5 } }
  t.match(heard, [
    ['accepted', resolved],
    ['answered', { ...resolved, answer }],
  ])
  t.equal(heard.length, 2)
})

t.test('listeners hear of failures and of what newer observations replace', async t => {
  const service = await serving()
  const heard: unknown[] = []
  service.events.listen({
    failed: event => void heard.push(event),
    superseded: event => void heard.push(event),
  })
  await service.close()
  const refused = service.infer(fakeObservation(1), {}, { session: 'robot' })
  await t.rejects(refused, { code: 'SHUTTING_DOWN' })
  service.superseded('robot')
  service.events.flush()
  t.match(heard, [
    { session: 'robot', observation: fakeObservation(1), error: { code: 'SHUTTING_DOWN' } },
    { session: 'robot' },
  ])
})

t.test('a listener that throws is counted and logged, and costs no answer', async t => {
  const warnings: string[] = []
  const service = await serving({ warn: message => warnings.push(message) })
  const heard: string[] = []
  const full = () => {
    throw new Error('disk full')
  }
  service.events.listen({ answered: full })
  service.events.listen({ answered: async () => full() })
  service.events.listen({ answered: ({ session }) => void heard.push(session) })
  for (const session of ['a', 'b']) {
    await service.infer(fakeObservation(1), {}, { session })
    await settle()
  }
  t.same(heard, ['a', 'b'], 'the others hear of it all the same')
  t.match(await service.metrics.registry.metrics(), /^turbo_pi_listener_errors_total 4$/m)
  t.equal(warnings.length, 1, 'a listener that fails at every answer does not fill the log')
  t.match(warnings[0], /disk full/)
})

t.test('who stops listening hears no more', async t => {
  const events = new ServiceEvents(error => t.fail(String(error)))
  const heard: string[] = []
  const listener: ServiceListener = { superseded: ({ session }) => void heard.push(session) }
  const stop = events.listen(listener)
  events.emit('superseded', { session: 'a', robot: undefined, at: 0 })
  events.flush()
  stop()
  events.emit('superseded', { session: 'b', robot: undefined, at: 0 })
  await settle()
  t.same(heard, ['a'])
})
