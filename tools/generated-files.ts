import { shownDefault } from '../src/commands/kit/help.js'
import { markdownTable } from '../src/commands/kit/table.js'
import { COMMANDS, loadCommand } from '../src/commands/table.js'
import { flagOf, SETTINGS } from '../src/config.js'
import { asyncApiDocument } from '../src/contract/asyncapi.js'
import { ERRORS } from '../src/errors.js'
import { jsonSchemas } from '../src/policy/json-schemas.js'
import { checkPolicy } from '../src/policy/loading/load.js'
import { PROGRAM_VARIABLES } from '../src/settings/environment.js'
import { settingsSchema } from '../src/settings/file.js'
import { byGroup, type Setting } from '../src/settings/kinds.js'
import { describedPolicy, describedServer } from '../test/support/described-server.js'
import { GIVEN } from '../test/support/given-directories.js'
import { chartFiles } from './helm/files.js'

/** The documents show LIBERO: a server generates its own from the policy that it serves. */
const LIBERO = describedPolicy('libero')

/** Path in the repository → text, of every file that is derived from the code. */
export async function generatedFiles(): Promise<Record<string, string>> {
  return {
    'openapi/openapi.json': await openapi(),
    'openapi/asyncapi.json': `${JSON.stringify(asyncApiDocument(LIBERO.observation, LIBERO.shape), null, 2)}\n`,
    'docs/reference/errors.md': errors(),
    'docs/reference/config.md': settings(),
    'docs/reference/cli.md': await commands(),
    'docs/reference/settings.schema.json': `${JSON.stringify(settingsSchema(SETTINGS), null, 2)}\n`,
    'docs/reference/doctor.md': doctor(),
    ...schemas(),
    ...chartFiles(),
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
  const app = await describedServer(['libero'])
  const document = app.swagger()
  await app.close()
  return `${JSON.stringify(document, null, 2)}\n`
}

function errors(): string {
  const rows = Object.entries(ERRORS).map(([code, { status, title }]) => [`\`${code}\``, `${status}`, title])
  return `# Errors

Every error is an RFC 9457 problem document (\`application/problem+json\`) with \`type\`, \`title\`, \`status\`, \`code\`,
\`detail\` and \`errors\`, a list of JSON pointers into the request. Codes are stable; texts are not. Errors of the command
line have the same code and text on standard error; the process ends with exit code 2 for \`CONFIG_INVALID\`, else with 1.

${markdownTable(['code', 'status', 'title'], rows)}
`
}

function settings(): string {
  const groups = [...byGroup(SETTINGS, ({ group }) => group)].map(([group, table]) => {
    const rows = table.map(([name, { env, ...setting }]) => [
      `\`--${flagOf(name)}\``,
      `\`${env}\``,
      ...valueCells(setting),
      cell(setting.meaning),
    ])
    return `## ${group}\n\n${markdownTable(['flag', 'environment', 'takes', 'default', 'meaning'], rows)}`
  })
  const program = Object.entries(PROGRAM_VARIABLES).map(([name, meaning]) => [`\`${name}\``, meaning])
  return `# Settings of \`turbo-pi serve\`

A flag wins over its environment variable, that over the file of settings (\`--config-file\`, [cli](cli.md)), and that over the default.
Other commands take some of them; \`turbo-pi help COMMAND\` lists which. A file has the names of the flags without their dashes;
its JSON schema is [settings.schema.json](settings.schema.json). A variable \`TURBO_PI_…\` that is not listed here is refused.

${groups.join('\n\n')}

## Variables of the program

No settings of a server, and not in its file:

${markdownTable(['environment', 'meaning'], program)}
`
}

const cell = (text: string) => text.replaceAll('|', '\\|')

/** What an option takes, with its bounds, and its default. */
function valueCells(setting: Setting<unknown>): [takes: string, otherwise: string] {
  const { takes, bounds } = setting
  const otherwise = shownDefault(setting)
  return [
    takes ? `\`${cell(takes)}\`${bounds ? `, ${bounds}` : ''}` : '',
    otherwise ? `\`${cell(otherwise)}\`` : '',
  ]
}

async function commands(): Promise<string> {
  const settingNames = new Set(Object.keys(SETTINGS))
  const sections: string[] = []
  for (const name of Object.keys(COMMANDS)) {
    const { forms, about, options, settings } = await loadCommand(name)
    const own = Object.entries<Setting<unknown>>(options).map(([option, setting]) => [
      `\`--${flagOf(option)}\``,
      ...valueCells(setting),
      cell(setting.meaning),
    ])
    const taken = Object.keys(settings).filter(setting => !(setting in options) && settingNames.has(setting))
    const all = taken.length === settingNames.size
    const list = all ? 'all' : taken.map(setting => `\`--${flagOf(setting)}\``).join(', ')
    sections.push(
      [
        `## turbo-pi ${name}`,
        ['```text', ...forms.map(form => `turbo-pi ${name} ${form}`), '```'].join('\n'),
        ...about
          .trim()
          .split(/\n{2,}/)
          .map(paragraph => (/^ /m.test(paragraph) ? ['```text', paragraph, '```'].join('\n') : paragraph)),
        ...(own.length > 0 ? [markdownTable(['option', 'takes', 'default', 'meaning'], own)] : []),
        ...(taken.length > 0 ? [`Settings: ${list}.`] : []),
      ].join('\n\n'),
    )
  }
  const list = Object.entries(COMMANDS).map(([name, { summary }]) => [
    `[${name}](#turbo-pi-${name})`,
    summary,
  ])
  return `# The commands

Made from the table that help, parsing and completion are made of (\`npm run generate\`). How options, files, the environment and exit
codes work is in [the guide](../guides/cli.md); the settings are in [config](config.md).

${markdownTable(['command', 'what it does'], list)}

${sections.join('\n\n')}
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
