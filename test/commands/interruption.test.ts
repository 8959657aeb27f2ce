import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { blocking, Interrupted, interruptible } from '../../src/commands/kit/interruption.js'

const heard = () => ['SIGINT', 'SIGTERM', 'SIGHUP'].map(signal => process.listenerCount(signal))

t.test('a signal calls work off, which cleans up, and the process ends as shells expect', async t => {
  const before = heard()
  let cleaned = false
  const work = interruptible(async signal => {
    try {
      await sleep(60_000, undefined, { signal })
    } finally {
      cleaned = true
    }
  })
  process.kill(process.pid, 'SIGTERM')
  const error = await work.catch(error => error)
  t.type(error, Interrupted)
  t.equal(error.exitCode, 143)
  t.match(error.message, /SIGTERM/)
  t.ok(cleaned)
  t.same(heard(), before, 'nobody listens afterwards')
})

t.test('what fails by itself fails with its own error', async t => {
  await t.rejects(
    interruptible(async () => {
      throw new Error('no disk')
    }),
    { message: 'no disk' },
  )
})

t.test('while work blocks its thread, nobody holds a signal back', async t => {
  const before = heard()
  await interruptible(async () => {
    t.not(heard().join(), before.join())
    await blocking(async () => t.same(heard(), [0, 0, 0]))
    t.not(heard().join(), before.join(), 'and then it is heard again')
  })
  t.same(heard(), before)
})
