import t from 'tap'
import { command } from '../../src/commands/clear.js'
import { startServer, stopServers } from '../support/server.js'

t.teardown(stopServers)

t.test('turbo-pi clear lists the robots that are held, and lets one go on', async t => {
  const { url, service } = await startServer({ runtime: { milliseconds: 1 } })
  const printed: string[] = []
  t.intercept(console, 'log', { value: (line: string) => printed.push(line) })
  t.intercept(console, 'error', { value: (line: string) => printed.push(line) })
  const say = async (argv: string[], code = 0) => {
    t.equal(await command.run([...argv, '--url', url]), code)
    return printed.splice(0).join('\n')
  }
  t.equal(await say([]), 'No robot is held.')
  service.held.hold('arm-1', { kind: 'joint_step', joint: 'lift (m)', row: 3, value: 0.4, limit: 0.1 })
  t.match(
    await say([]),
    /^arm-1, held since 20.*: lift \(m\) of row 3 is 0\.4, past its limit of one step, 0\.1$/,
  )
  t.match(await say(['arm-1']), /^arm-1 goes on; it was held because lift \(m\)/)
  t.equal(await say(['arm-1']), 'arm-1 was not held.')
  t.match(await say(['a b'], 1), /ROBOT_INVALID/)
  await t.rejects(command.run(['a', 'b', '--url', url]), {
    code: 'CONFIG_INVALID',
    message: /takes one name/,
  })
})
