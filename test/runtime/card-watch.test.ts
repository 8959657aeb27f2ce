import t from 'tap'
import { VirtualClock } from '../../src/capacity/virtual-clock.js'
import type { NativeCard } from '../../src/runtime/gpu/addon.js'
import { cardReading } from '../../src/runtime/gpu/card-reading.js'
import { CardWatch } from '../../src/runtime/gpu/card-watch.js'

t.test('percents are shares, bits are reasons, and one process of those on the card is this one', async t => {
  t.match(
    cardReading({ device: 1, utilisation: 37, memoryUtilisation: 12, clockReasons: 0x65, processes: [7, 9] }),
    {
      device: 1,
      utilisation: 0.37,
      memoryUtilisation: 0.12,
      slowedBy: ['sw_power_cap', 'sw_thermal_slowdown', 'hw_thermal_slowdown'],
      otherProcesses: 1,
    },
  )
  t.strictSame(cardReading({ device: 0, clockReasons: 1, processes: [] }), {
    device: 0,
    utilisation: undefined,
    memoryUtilisation: undefined,
    slowedBy: [],
    otherProcesses: 0,
  })
  t.equal(cardReading({ device: 0 }).slowedBy, undefined, 'what a card does not tell stays unknown')
})

t.test('cards are read once a second, one reading at a time, and an old reading is none', async t => {
  const clock = new VirtualClock()
  const asked: number[] = []
  const heard: number[] = []
  let answer = (_cards: NativeCard[]) => {}
  const watch = new CardWatch({
    clock,
    read: devices => {
      t.same(devices, [0, 1])
      asked.push(clock.now())
      return new Promise(resolve => {
        answer = resolve
      })
    },
    onRead: () => heard.push(clock.now()),
  })
  t.same(watch.cards, [])
  watch.begin([0, 1])
  await clock.run(2500)
  t.same(asked, [0], 'a reading that takes long is waited for')
  answer([{ device: 0, celsius: 60 }])
  await clock.run(2500)
  t.match(watch.cards, [{ device: 0, celsius: 60 }])
  await clock.run(4000)
  t.same(asked, [0, 3500])
  t.same(heard, [2500])
  await clock.run(12_499)
  t.equal(watch.cards.length, 1)
  await clock.run(12_500)
  t.same(watch.cards, [], 'a driver that does not answer tells nothing')
  answer([{ device: 0 }])
  watch.stop()
  await clock.run(60_000)
  t.same(asked, [0, 3500], 'nothing is read once it has stopped')
})

t.test('without NVML it says why, once, and nothing is read again', async t => {
  const clock = new VirtualClock()
  const notices: string[] = []
  let asked = 0
  const watch = new CardWatch({
    clock,
    read: async () => {
      asked += 1
      throw Object.assign(new Error('libnvidia-ml.so.1: cannot open'), { hint: 'it comes with the driver' })
    },
    onNotice: text => notices.push(text),
  })
  watch.begin([])
  await clock.run(1)
  t.equal(asked, 0, 'no card computes')
  watch.begin([0])
  await clock.run(600_000)
  t.equal(asked, 1)
  t.same(notices, [
    'What the GPU is at cannot be read, and is not in /metrics: libnvidia-ml.so.1: cannot open (it comes with the driver)',
  ])
  t.same(watch.cards, [])
})
