/**
 * The import rules of the house: data goes routes → service → policy/runtime → model, and no room knows
 * one further left. src/errors.ts and src/cancellation.ts belong to everybody.
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

module.exports = {
  forbidden: [
    only('contract'),
    only('model'),
    only('policy', 'contract', 'model'),
    only('runtime', 'model'),
    only('service', 'contract', 'policy', 'runtime'),
    only('client', 'contract'),
    only('tabletop'),
    only('page', 'tabletop'),
    {
      name: 'routes-imports',
      severity: 'error',
      comment: 'Routes parse, call and reply: they know the contract and the service alone.',
      from: { path: '^src/routes/' },
      to: {
        path: '^src/',
        pathNot: ['^src/routes/', SHARED, '^src/contract/', '^src/service/', '^src/config\\.ts$'],
      },
    },
    {
      name: 'routes-are-registered-by-the-server',
      severity: 'error',
      comment: 'Only src/server.ts imports routes.',
      from: { path: '^src/', pathNot: ['^src/server\\.ts$', '^src/routes/'] },
      to: { path: '^src/routes/' },
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
