import { POLICY_SETTINGS } from '../../settings/policy.js'
import { type Call, command as define, refuse } from '../kit/command.js'
import { interruptible } from '../kit/interruption.js'
import { verifyAgainst } from './against.js'
import { verifyGolden, verifyPolicies } from './cases.js'
import { DESCRIPTION, type OPTIONS, usage } from './options.js'

export const command = define(DESCRIPTION, call => interruptible(signal => verify(call, signal)))

const OF_A_POLICY = Object.keys(POLICY_SETTINGS).filter(name => name !== 'adapter')
const OF_TWO_RUNTIMES = ['count', 'steps', 'referenceRuntime']

async function verify({ own, config, given }: Call<typeof OPTIONS>, signal: AbortSignal): Promise<number> {
  const golden = own.cases !== undefined
  const policies = own.policyCases !== undefined || own.models !== undefined
  if ([golden, policies, own.against !== undefined].filter(Boolean).length > 1)
    throw usage('--cases, --policy-cases and --against exclude each other.')
  if (golden) {
    refuse('verify', 'verify --cases', given, [...OF_TWO_RUNTIMES, ...OF_A_POLICY])
    return verifyGolden(own, config, signal)
  }
  if (policies) {
    const others = ['model', 'inputs', 'reference', 'adapter']
    refuse('verify', 'verify --policy-cases', given, [...others, ...OF_TWO_RUNTIMES, ...OF_A_POLICY])
    return verifyPolicies(own, config, signal)
  }
  refuse('verify', 'verify without cases', given, ['inputs', 'tolerance'])
  if (own.against !== undefined && own.against !== 'random')
    refuse('verify', 'verify --against recordings', given, ['count'])
  return verifyAgainst(own, config, signal)
}
