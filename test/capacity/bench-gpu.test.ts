import { spawnSync } from 'node:child_process'
import t from 'tap'
import { repositoryPath } from '../support/served-policy.js'

const { gpuTable } = await import(new URL('../../tools/gpu-table.mjs', import.meta.url).href)

t.test('the lines of network_check make the table of docs/measurements', t => {
  const bf16 =
    'time 1 row, 2 cameras, 64 tokens, 10 steps vision  1.710 prefix  3.590 denoise  4.180 | host wall median  9.580 p99  9.900 max 10.0 | unlike 0 | rows/s 104.4\n' +
    'time 2 cards, 8 rows, 2 cameras, 64 tokens, 10 steps vision  9.670 prefix 26.250 denoise 10.350 | host wall median 46.980 p99 47.610 max 48.0 | unlike 0 | rows/s 340.6\n'
  const fp8 =
    'ok  something\n' +
    'time 1 row, 3 cameras, 200 tokens, 10 steps vision  2.380 prefix  6.010 denoise  4.390 | host wall median 12.920 p99 13.060 max 14.0 | unlike 0 | rows/s 77.4\n' +
    'time 1 row, 2 cameras, 64 tokens, 10 steps vision  1.720 prefix  2.500 denoise  3.400 | host wall median  7.700 p99  7.800 max  8.0 | unlike 0 | rows/s 129.9\n'
  t.equal(
    gpuTable({ bf16, fp8 }),
    [
      '| precision | cards | rows | vision | prefix | denoise | whole | p99 | a row | rows/s |',
      '|---|---|---|---|---|---|---|---|---|---|',
      '| bf16 | 1 | 1 | 1.71 | 3.59 | 4.18 | **9.58** | 9.90 | 9.58 | 104 |',
      '| bf16 | 2 | 8 | 9.67 | 26.25 | 10.35 | **46.98** | 47.61 | 5.87 | 341 |',
      '| fp8 | 1 | 1 | 1.72 | 2.50 | 3.40 | **7.70** | 7.80 | 7.70 | 130 |',
    ].join('\n'),
  )
  t.end()
})

t.test('bench:gpu refuses what it cannot measure before it compiles anything', t => {
  const refused = (options: string[], message: RegExp) => {
    const { status, stderr } = spawnSync(
      process.execPath,
      [repositoryPath('tools/bench-gpu.mjs'), ...options],
      {
        encoding: 'utf8',
      },
    )
    t.equal(status, 1, options.join(' '))
    t.match(stderr, message)
  }
  refused(['--precision', 'bf16,fp4'], /--precision takes bf16 and fp8.*"fp4" is not one/)
  refused(['--devices', '1,0'], /--devices takes numbers of cards from 1 on.*"0" is not one/)
  refused(['--json', '--precision', 'bf16,fp8'], /one card in one precision/)
  refused(['--json', '--devices', '2'], /one card in one precision/)
  t.end()
})
