/** Records what the Python tests read: `node --import=tsx record.ts DIR`. Two robots, three episodes, reports and marks. */
import { setTimeout as sleep } from 'node:timers/promises'
import { fakeObservation } from '../../support/fake-policy.js'
import { fakeRecorder } from '../../support/recording.js'

const { service, recorder } = await fakeRecorder(process.argv[2]!)
recorder.start()
const ask = async (robot: string, token: number, prompt: string) => {
  const caller = { session: robot, robot, seq: token }
  await service.infer({ ...fakeObservation(token, 3 * token), prompt }, {}, caller)
  service.events.flush()
}
const report = (robot: string, told: { executed?: number[]; success?: boolean }) => {
  const at = performance.now()
  const { executed, success } = told
  service.events.emit('reported', {
    session: robot,
    robot,
    at,
    executed: executed ? [{ action: executed, at }] : [],
    marks: success === undefined ? [] : [{ kind: success ? 'success' : 'failure', at }],
  })
  service.events.flush()
}
for (let token = 0; token < 20; token += 1) {
  await ask('arm-1', token, 'lift it')
  report('arm-1', { executed: [token / 10, -token] })
  await ask('arm-2', token, token < 10 ? 'lift it' : 'put it down')
  await sleep(20)
}
report('arm-1', { success: true })
const { dropped, observations } = await recorder.stop()
await recorder.close()
await service.close()
console.log(JSON.stringify({ dropped, observations }))
