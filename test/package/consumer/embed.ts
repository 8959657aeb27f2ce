/** The server in a program of one's own: compiled against the installed package, then run. */
import { createRuntime, loadPolicy, PolicyService, type Runtime, TurboPiError, turboPi } from 'turbo-pi'

const [directory = ''] = process.argv.slice(2)
const policy = await loadPolicy(directory)
const runtime: Promise<Runtime> = createRuntime(policy, { runtime: 'cpu' })
// @ts-expect-error: a policy is loaded from a folder.
const wrong = () => loadPolicy(7)
const service = new PolicyService({ policy, runtime })
await service.start()
await service.close()
void [turboPi, TurboPiError, wrong]
