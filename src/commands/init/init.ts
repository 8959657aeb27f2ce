import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { reasonOf, TurboPiError } from '../../errors.js'
import { checkPolicy } from '../../policy/loading/load.js'
import { checksReport } from '../kit/checks-report.js'
import { type Call, command as define } from '../kit/command.js'
import { readGiven } from './given-checkpoint.js'
import { Interview, ownTerminal, type Terminal } from './interview.js'
import { askManifest } from './manifest.js'
import { DESCRIPTION, type OPTIONS } from './options.js'

export const command = define(DESCRIPTION, call => init(call, ownTerminal()))

/** Writes a policy.json and checks the directory as it will be served: the exit code. */
export async function init(
  { own, positionals }: Call<typeof OPTIONS>,
  terminal: Terminal | undefined,
): Promise<number> {
  const given = readGiven(positionals[0]!)
  const interview = new Interview(own.yes ? undefined : terminal)
  try {
    write(join(given.source.directory, 'policy.json'), await askManifest(interview, own, given))
  } finally {
    interview.close()
  }
  const { text, wrong } = checksReport(checkPolicy(given.source.directory))
  console.log(text)
  return wrong === 0 ? 0 : 1
}

/** Never over a file that somebody has written meanwhile. */
function write(path: string, manifest: object): void {
  try {
    writeFileSync(path, `${JSON.stringify(manifest, null, 2)}\n`, { flag: 'wx' })
  } catch (error) {
    throw new TurboPiError('POLICY_INVALID', `${path} cannot be written: ${reasonOf(error)}.`)
  }
  console.log(`wrote ${path}\n`)
}
