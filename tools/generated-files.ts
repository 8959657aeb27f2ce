import { markdownTable } from '../src/commands/kit/table.js'
import { flagOf, loadConfig, SETTINGS } from '../src/config.js'
import { asyncApiDocument } from '../src/contract/asyncapi.js'
import { ERRORS } from '../src/errors.js'
import { EMBODIMENTS, observationSpec } from '../src/policy/embodiment.js'
import { jointNames, stateNames } from '../src/policy/guard/joint-limits.js'
import { jsonSchemas } from '../src/policy/json-schemas.js'
import { checkPolicy } from '../src/policy/loading/load.js'
import { createServer } from '../src/server/standalone.js'
import { HeldRobots } from '../src/service/held-robots.js'
import { Metrics } from '../src/service/metrics.js'
import { Served } from '../src/service/served.js'
import type { PolicyService, ServiceMetadata } from '../src/service/service.js'
import { GIVEN } from '../test/support/given-directories.js'

/** The documents show LIBERO: a server generates its own from the policy that it serves. */
const LIBERO: ServiceMetadata = {
  policy: 'libero',
  observation: observationSpec(EMBODIMENTS.libero, undefined),
  shape: { horizon: 10, actionDim: 32, actionSize: 7 },
  defaultSteps: 10,
  joints: jointNames(EMBODIMENTS.libero),
  stateNames: stateNames(EMBODIMENTS.libero),
  trainedDelay: 0,
  model: null,
  runtime: null,
  openpi: {},
}

/** Path in the repository → text, of every file that is derived from the code. */
export async function generatedFiles(): Promise<Record<string, string>> {
  return {
    'openapi/openapi.json': await openapi(),
    'openapi/asyncapi.json': `${JSON.stringify(asyncApiDocument(LIBERO.observation, LIBERO.shape), null, 2)}\n`,
    'docs/reference/errors.md': errors(),
    'docs/reference/config.md': settings(),
    'docs/reference/doctor.md': doctor(),
    ...schemas(),
  }
}

function schemas(): Record<string, string> {
  const files = Object.entries(jsonSchemas()).map(([name, schema]) => [
    `docs/reference/${name}`,
    `${JSON.stringify(schema, null, 2)}\n`,
  ])
  return Object.fromEntries(files)
}

async function openapi(): Promise<string> {
  const described = {
    metadata: () => LIBERO,
    metrics: new Metrics(),
    held: new HeldRobots(),
  } as PolicyService
  const app = await createServer(
    [new Served(described, { name: 'libero' })],
    { ...loadConfig([], {}), apiKey: undefined },
    { swap: async () => {} },
  )
  await app.ready()
  const document = app.swagger()
  await app.close()
  return `${JSON.stringify(document, null, 2)}\n`
}

function errors(): string {
  const rows = Object.entries(ERRORS).map(([code, { status, title }]) => [`\`${code}\``, `${status}`, title])
  return `# Errors

Every error is an RFC 9457 problem document (\`application/problem+json\`) with \`type\`, \`title\`, \`status\`, \`code\`,
\`detail\` and \`errors\`, a list of JSON pointers into the request. Codes are stable; texts are not. Errors of start-up
end the process with exit code 1 and the same code and text on standard error.

${markdownTable(['code', 'status', 'title'], rows)}
`
}

function settings(): string {
  const rows = Object.entries(SETTINGS).map(([name, { env, meaning, default: value }]) => [
    `\`--${flagOf(name)}\``,
    `\`${env}\``,
    value === undefined ? '' : `\`${value}\``,
    meaning,
  ])
  return `# Settings of \`turbo-pi serve\`

A flag wins over its environment variable, and that over the default.

${markdownTable(['flag', 'environment', 'default', 'meaning'], rows)}
`
}

function doctor(): string {
  const rows = GIVEN.map(({ what, make, options }) => {
    const undo: (() => unknown)[] = []
    const directory = make({ teardown: handler => undo.push(handler) })
    const first = checkPolicy(directory, options).find(({ status }) => status === 'failed')
    for (const handler of undo) handler()
    const root = directory.replace(/(turbo-pi-test-\w+).*/, '$1')
    const [is = '', todo = ''] = (first?.detail ?? 'Nothing wrong was found.')
      .replaceAll(root, 'DIR')
      .split('\n')
    return [what, first?.name ?? '', is, todo].map(cell => cell.replaceAll('|', '\\|'))
  })
  return `# What the doctor says

\`turbo-pi doctor DIR\` and the server's start run the same checks. What people give in place of a checkpoint, the check that
refuses it first, and the two lines that it says: what it is, and what to do. The inputs are those of
\`test/support/given-directories.ts\`; this page is what the checks answer (\`npm run generate\`).

${markdownTable(['given', 'check', 'what it is', 'what to do'], rows)}
`
}
