import type { Test } from 'tap'
import { checkPolicy, loadPolicy } from '../../src/policy/loading/load.js'
import type { PolicyOptions } from '../../src/policy/loading/openpi.js'

/** The loader refuses with this code and message, and the doctor reports it under this check. */
export async function refused(
  t: Test,
  directory: string,
  options: PolicyOptions,
  checks: string | string[],
  code: string,
  ...messages: (RegExp | string)[]
): Promise<void> {
  for (const message of messages)
    await t.rejects(loadPolicy(directory, options), {
      code,
      message: message instanceof RegExp ? message : new RegExp(message.replaceAll(/[.[\]()]/g, '\\$&')),
    })
  const failed = checkPolicy(directory, options).filter(result => result.status === 'failed')
  t.same(
    failed.map(result => result.name),
    [checks].flat(),
    'the doctor finds this and nothing else',
  )
}
