import t from 'tap'
import { loadConfig } from '../src/config.js'

t.test('policies are named by themselves or after their directory, in flags or one variable', async t => {
  t.strictSame(loadConfig([], {}).policy, [])
  t.strictSame(loadConfig(['--policy', '/robots/so 101'], {}).policy, [
    { name: 'so-101', directory: '/robots/so 101' },
  ])
  const two = [
    { name: 'left', directory: '/a' },
    { name: 'right', directory: './b=c' },
  ]
  t.strictSame(loadConfig(['--policy', 'left=/a', '--policy', 'right=./b=c'], {}).policy, two)
  t.strictSame(loadConfig([], { TURBO_PI_POLICY: 'left=/a, right=./b=c' }).policy, two)
})

t.test('two policies of one name, and a name without a directory, are refused', async t => {
  const refused = (...argv: string[]) =>
    t.throws(() => loadConfig(argv, {}), {
      code: 'CONFIG_INVALID',
      message: /--policy takes/,
    })
  refused('--policy', 'arm=/a', '--policy', 'arm=/b')
  refused('--policy', '/a/arm', '--policy', '/b/arm')
  refused('--policy', 'arm=')
})

t.test('swapping asks for a key', async t => {
  t.throws(() => loadConfig(['--allow-swap'], {}), { code: 'CONFIG_INVALID', message: /TURBO_PI_API_KEY/ })
  t.ok(loadConfig(['--allow-swap', '--api-key', 'secret'], {}).allowSwap)
})
