import t from 'tap'
import { SETTINGS } from '../../src/config.js'
import { TurboPiError } from '../../src/errors.js'
import { cardSet } from '../../src/runtime/card-set.js'
import { createServer } from '../../src/server/standalone.js'
import { Served } from '../../src/service/served.js'
import { PolicyService } from '../../src/service/service.js'
import { fakeObservation, fakePolicy } from '../support/fake-policy.js'
import { FakeRuntime } from '../support/fake-runtime.js'

class Card extends FakeRuntime {
  failure: Error | undefined
  override perceive(...call: Parameters<FakeRuntime['perceive']>) {
    return this.failure ? Promise.reject(this.failure) : super.perceive(...call)
  }
}

t.test('a server of two cards warms both, says how many work, and answers while one does', async t => {
  const cards = [0, 1].map(card => new Card({ milliseconds: 1, cards: [card] })) as [Card, Card]
  const warnings: string[] = []
  const service = new PolicyService({
    policy: fakePolicy(),
    runtime: Promise.resolve(cardSet(cards)),
    warn: message => warnings.push(message),
  })
  const app = await createServer([new Served(service)], {
    apiKey: undefined,
    bodyLimit: SETTINGS.bodyLimit.default,
  })
  t.teardown(() => app.close())
  await service.start()
  t.same(
    cards.map(({ calls }) => calls.length),
    [2, 2],
    'each has had a self-test',
  )
  const readyz = async () => {
    const { statusCode, json } = await app.inject('/readyz')
    return [statusCode, json<{ cards?: string; detail?: string }>()] as const
  }
  const working = async () =>
    (await app.inject('/metrics')).body
      .split('\n')
      .filter(line => line.startsWith('turbo_pi_engine_working{'))
      .map(line => line.replace(/^\w+|"/g, ''))
  t.same(await readyz(), [200, { status: 'ready', cards: '2 of 2 cards' }])
  t.same(await working(), ['{device=0} 1', '{device=1} 1'])
  t.match(service.metadata().runtime, { device: '2 × test', cards: [0, 1] })

  const infer = () => service.infer(fakeObservation(5), { noise: 7 }, { session: 'robot' })
  cards[1].failure = new TurboPiError('RUNTIME_FAILED', 'the GPU session has failed')
  for (let i = 0; i < 4; i++)
    t.match(await infer(), { actions: Float64Array.of(12, 12, 12, 12), place: { device: 0 } })
  t.same(await readyz(), [200, { status: 'ready', cards: '1 of 2 cards' }])
  t.same(await working(), ['{device=0} 1', '{device=1} 0'])
  t.same(warnings, ['GPU 1 is left alone: it failed. 1 of 2 cards work'])
  t.match(
    (await app.inject('/metrics')).body,
    /^turbo_pi_lane_busy_seconds_total\{lane="act",device="0"\} /m,
    'time at work is by the card',
  )

  cards[0].failure = new TurboPiError('RUNTIME_FAILED', 'the other one, too')
  await t.rejects(infer(), { code: 'RUNTIME_FAILED' })
  await t.rejects(infer(), { code: 'RUNTIME_FAILED' })
  t.match(await readyz(), [503, { code: 'RUNTIME_FAILED', detail: /None of 2 cards works/ }])
  cards[0].failure = undefined
  t.equal((await infer()).place.device, 0, 'what works again is used')
  t.match(await readyz(), [200, { cards: '1 of 2 cards' }])
})

t.test('a server of one engine says nothing of cards', async t => {
  const service = new PolicyService({
    policy: fakePolicy(),
    runtime: Promise.resolve(new FakeRuntime({ milliseconds: 1 })),
  })
  await service.start()
  t.equal(service.engines, undefined)
  t.notMatch(await service.metrics.registry.metrics(), /turbo_pi_engine_working\{/)
  await service.close()
})
