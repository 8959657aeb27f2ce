/**
 * The import rules of the house: data goes routes → service → policy and runtime → families → onnx → storage, and no
 * room knows one further left. `errors.ts` and `cancellation.ts` belong to everybody.
 */
const SHARED = '^src/(errors|cancellation)\\.ts$'
const room = name => `^src/${name}/`
const only = (from, ...allowed) => ({
  name: `${from}-imports`,
  severity: 'error',
  comment: `src/${from} may import ${allowed.join(', ') || 'no other room'} and the shared files`,
  from: { path: room(from) },
  to: { path: '^src/', pathNot: [room(from), SHARED, ...allowed.map(room)] },
})
const apart = (from, ...others) => ({
  name: `${from}-stands-alone`,
  severity: 'error',
  comment: `src/${from} does not know ${others.join(', ')}`,
  from: { path: room(from) },
  to: { path: others.map(room) },
})

module.exports = {
  forbidden: [
    only('contract'),
    only('storage'),
    only('onnx', 'storage'),
    only('families', 'onnx', 'storage'),
    only('policy', 'contract', 'families', 'storage'),
    only('runtime', 'families', 'onnx', 'storage'),
    apart('runtime/cpu', 'runtime/gpu', 'runtime/tensorrt', 'runtime/cuda'),
    apart('runtime/tensorrt', 'runtime/cuda'),
    apart('runtime/cuda', 'runtime/tensorrt'),
    apart('runtime/gpu', 'runtime/tensorrt', 'runtime/cuda'),
    only('verification', 'contract', 'policy', 'runtime', 'families', 'storage'),
    only('service', 'contract', 'policy', 'runtime', 'families'),
    only('client', 'contract'),
    only('tabletop'),
    only('page', 'tabletop', 'client'),
    {
      name: 'routes-imports',
      severity: 'error',
      comment: 'Routes parse, call and reply: they know the contract and the service alone.',
      from: { path: room('routes'), pathNot: room('routes/page') },
      to: {
        path: '^src/',
        pathNot: [room('routes'), SHARED, room('contract'), room('service'), '^src/config\\.ts$'],
      },
    },
    {
      name: 'page-imports',
      severity: 'error',
      comment: 'The page shows what the cameras see.',
      from: { path: room('routes/page') },
      to: {
        path: '^src/',
        pathNot: [
          room('routes'),
          SHARED,
          room('contract'),
          room('service'),
          room('policy/images'),
          '^src/config\\.ts$',
        ],
      },
    },
    {
      name: 'server-imports',
      severity: 'error',
      comment: 'The server registers routes over a service.',
      from: { path: room('server') },
      to: {
        path: '^src/',
        pathNot: [
          room('server'),
          SHARED,
          room('contract'),
          room('service'),
          room('routes'),
          '^src/config\\.ts$',
        ],
      },
    },
    {
      name: 'routes-are-registered-by-the-server',
      severity: 'error',
      from: { path: '^src/', pathNot: [room('server'), room('routes')] },
      to: { path: room('routes') },
    },
    {
      name: 'commands-are-started-by-the-command-line',
      severity: 'error',
      from: { path: '^src/', pathNot: ['^src/cli\\.ts$', room('commands')] },
      to: { path: room('commands') },
    },
    {
      name: 'the-addon-is-loaded-in-one-file',
      severity: 'error',
      comment: 'Only src/runtime/gpu/addon.ts makes a `require` for the native addon.',
      from: { path: '^src/', pathNot: ['^src/runtime/gpu/addon\\.ts$', '^src/routes/page/page\\.ts$'] },
      to: { path: '^(node:)?module$' },
    },
    {
      name: 'settings-stand-alone',
      severity: 'error',
      comment: 'Settings take their choices from the tables that own them.',
      from: { path: '^src/config\\.ts$' },
      to: { path: '^src/', pathNot: [SHARED, room('runtime'), room('onnx'), room('families')] },
    },
    {
      name: 'no-circular',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
  },
}
