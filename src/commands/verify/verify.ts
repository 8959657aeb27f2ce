import { loadConfig } from '../../config.js'
import { takeOptions } from '../kit/options.js'
import { verifyAgainst } from './against.js'
import { verifyGolden, verifyPolicies } from './cases.js'
import { OPTIONS, usage } from './options.js'

export { help } from './options.js'

/** `turbo-pi verify`: the exit code. */
export async function run(argv: string[]): Promise<number> {
  const { own, rest } = takeOptions(argv, OPTIONS)
  const config = loadConfig(rest)
  const golden = own.cases !== undefined
  const policies = own['policy-cases'] !== undefined || own.models !== undefined
  if ([golden, policies, own.against !== undefined].filter(Boolean).length > 1)
    throw usage('--cases, --policy-cases and --against exclude each other')
  if (golden) return verifyGolden(own, config)
  if (policies) return verifyPolicies(own, config)
  return verifyAgainst(own, config)
}
