import t from 'tap'
import { VirtualClock } from '../../src/capacity/virtual-clock.js'
import type { NativeCard } from '../../src/runtime/gpu/addon.js'
import { type CardReading, cardReading } from '../../src/runtime/gpu/card-reading.js'
import { CardMetrics } from '../../src/service/card-metrics.js'
import { CardWarnings } from '../../src/service/card-warnings.js'

const CARD: NativeCard = {
  device: 0,
  name: 'A card',
  uuid: 'GPU-1b',
  pciBusId: '0000:1b:00.0',
  utilisation: 37,
  memoryUtilisation: 12,
  memoryUsed: 4e9,
  memoryTotal: 80e9,
  celsius: 64,
  watts: 412.5,
  clockReasons: 0x20,
  eccCorrected: 3,
  eccUncorrected: 0,
  processes: [7, 8, 9],
}

t.test('what a card tells is a number by its device, and what it does not tell has none', async t => {
  let cards: CardReading[] = []
  const { registry } = new CardMetrics(() => cards)
  const lines = async () =>
    (await registry.metrics()).split('\n').filter(line => line !== '' && !line.startsWith('#'))
  t.same(await lines(), [], 'nothing before anything was read')

  cards = [cardReading(CARD), cardReading({ device: 1, name: 'A slice', memoryTotal: 10e9 })]
  t.same(await lines(), [
    'turbo_pi_gpu_info{device="0",name="A card",uuid="GPU-1b"} 1',
    'turbo_pi_gpu_info{device="1",name="A slice",uuid=""} 1',
    'turbo_pi_gpu_utilisation_ratio{device="0"} 0.37',
    'turbo_pi_gpu_memory_utilisation_ratio{device="0"} 0.12',
    'turbo_pi_gpu_memory_bytes{device="0"} 80000000000',
    'turbo_pi_gpu_memory_bytes{device="1"} 10000000000',
    'turbo_pi_gpu_memory_used_bytes{device="0"} 4000000000',
    'turbo_pi_gpu_temperature_celsius{device="0"} 64',
    'turbo_pi_gpu_power_watts{device="0"} 412.5',
    'turbo_pi_gpu_other_processes{device="0"} 2',
    'turbo_pi_gpu_throttled{device="0",reason="sw_power_cap"} 0',
    'turbo_pi_gpu_throttled{device="0",reason="hw_slowdown"} 0',
    'turbo_pi_gpu_throttled{device="0",reason="sync_boost"} 0',
    'turbo_pi_gpu_throttled{device="0",reason="sw_thermal_slowdown"} 1',
    'turbo_pi_gpu_throttled{device="0",reason="hw_thermal_slowdown"} 0',
    'turbo_pi_gpu_throttled{device="0",reason="hw_power_brake_slowdown"} 0',
    'turbo_pi_gpu_ecc_errors_total{device="0",kind="corrected"} 3',
    'turbo_pi_gpu_ecc_errors_total{device="0",kind="uncorrected"} 0',
  ])

  cards = [cardReading({ device: 0, reason: 'the card is lost' })]
  t.same(await lines(), [], 'a card that cannot be read has no numbers')
})

t.test('a card that slows down or computes for others is said when it begins and when it ends', async t => {
  const clock = new VirtualClock()
  const said: string[] = []
  const warnings = new CardWarnings(line => said.push(line), clock)
  const hear = async (seconds: number, card: Partial<NativeCard>) => {
    for (let i = 0; i < seconds; i += 1) {
      warnings.hear([cardReading({ ...CARD, clockReasons: 0, processes: [7], ...card })])
      await clock.run(clock.now() + 1000)
    }
    return said.splice(0)
  }
  t.same(await hear(5, {}), [])
  t.same(await hear(5, { clockReasons: 0x4 }), [], 'one at its power limit does what it was built for')
  t.same(await hear(30, { clockReasons: 0x24, celsius: 91 }), [
    'GPU 0 has lowered its clocks: it is too hot (sw_thermal_slowdown), at 91 °C',
  ])
  t.same(await hear(10, {}), [], 'what changes back at once is not said at once')
  t.same(await hear(30, {}), ['GPU 0 is no longer held to lower clocks'])
  t.same(await hear(200, { processes: [7, 8] }), [
    'GPU 0 computes for another process, too: answers take longer than they could',
  ])
  t.same(await hear(70, { processes: [7, 8, 9] }), [
    'GPU 0 computes for 2 other processes, too: answers take longer than they could',
  ])
  t.same(await hear(1, {}), ['GPU 0 computes for this process alone again'])
  warnings.hear([cardReading({ device: 0, reason: 'GPU is lost (15)' })])
  t.same(said, ['GPU 0 does not tell what it is at: GPU is lost (15)'])
})

t.test('a card that goes to and fro is one line a minute', async t => {
  const clock = new VirtualClock()
  const said: string[] = []
  const warnings = new CardWarnings(line => said.push(line), clock)
  for (let second = 0; second < 600; second += 1) {
    warnings.hear([cardReading({ ...CARD, processes: [7], clockReasons: second % 2 ? 0x40 : 0 })])
    await clock.run(clock.now() + 1000)
  }
  t.ok(said.length >= 9 && said.length <= 10, `${said.length} lines in ten minutes`)
})
