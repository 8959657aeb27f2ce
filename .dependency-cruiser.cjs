/**
 * The import rules of the house: data goes routes → service → policy and runtime → families → onnx → storage, and no
 * room knows one further left. `errors.ts`, `cancellation.ts`, `clock.ts`, `sampled-key.ts`, `version.ts`, `worker-thread.ts` and `worker-call.ts` belong to everybody.
 */
const SHARED = '^src/(errors|cancellation|clock|sampled-key|version|worker-thread|worker-call)\\.ts$'
/** A folder, or one file without its ending. */
const room = name => `^src/${name}[/.]`
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
    {
      name: 'backends-do-not-know-each-other',
      severity: 'error',
      comment:
        'A folder of src/runtime is a backend or what backends share; the table (backends.ts) alone knows them all.',
      from: { path: '^src/runtime/([^/]+)/' },
      to: {
        path: '^src/runtime/(?:[^/]+/|backends\\.ts$)',
        pathNot: ['^src/runtime/$1/', '^src/runtime/(gpu|agreement)/'],
      },
    },
    apart('runtime/cpu', 'runtime/gpu', 'runtime/agreement'),
    apart('runtime/gpu', 'runtime/agreement'),
    apart('runtime/agreement', 'runtime/gpu'),
    only('verification', 'contract', 'policy', 'runtime', 'families', 'onnx', 'storage'),
    only('service', 'contract', 'policy', 'runtime', 'families/pi0/sampling', 'families/pi0/rtc'),
    only('recording', 'contract', 'service', 'policy', 'families/pi0', 'runtime', 'storage'),
    only('capacity', 'contract', 'service', 'policy', 'runtime', 'families/pi0', 'tabletop/random'),
    only('tracing', 'contract', 'service'),
    only('client', 'contract'),
    only('tabletop'),
    only('page', 'tabletop', 'contract', 'client'),
    {
      name: 'the-page-takes-types-of-the-contract',
      severity: 'error',
      comment: 'A browser loads no module of the contract for the page: `import type` alone.',
      from: { path: room('page') },
      to: { path: room('contract'), dependencyTypesNot: ['type-only'] },
    },
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
      name: 'opentelemetry-is-loaded-in-one-file',
      severity: 'error',
      comment:
        'It takes a second to load: src/tracing/opentelemetry.ts alone imports it, for otlp.ts, which is imported when it is wanted.',
      from: { path: '^src/', pathNot: '^src/tracing/opentelemetry\\.ts$' },
      to: { path: 'node_modules/@opentelemetry/' },
    },
    {
      name: 'settings-stand-alone',
      severity: 'error',
      comment: 'Settings take their choices from the tables that own them.',
      from: { path: ['^src/config\\.ts$', room('settings')] },
      to: {
        path: '^src/',
        pathNot: [
          SHARED,
          room('settings'),
          '^src/recording/cameras\\.ts$',
          room('runtime'),
          room('onnx'),
          room('families'),
        ],
      },
    },
    {
      name: 'no-circular',
      severity: 'error',
      comment: 'Neither of modules nor of types.',
      from: { pathNot: '^src/client/(client|stream)\\.ts$' },
      to: { circular: true },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
  },
}
