/** A robot's program as its author writes it: compiled against the installed packages, then run. */
import { ChunkExecutor, ClientError, STRATEGIES, TurboPiClient } from '@turbo-pi/client'
import { BrowserClient } from '@turbo-pi/client/browser'
import type { ActionChunk } from 'turbo-pi/client'

const [address = '', image = '', wrist = ''] = process.argv.slice(2)
const client = await TurboPiClient.connect(address, { robot: 'arm-1' })
const chunk: ActionChunk = await client.infer(
  {
    'observation/image': new Uint8Array(Buffer.from(image, 'base64')),
    'observation/wrist_image': new Uint8Array(Buffer.from(wrist, 'base64')),
    'observation/state': [0.52, 0.65, 0.34, 0, 0, 0, 0.04, -0.04],
    prompt: 'pick up the red block',
  },
  { seed: 7 },
)
const kinds: ('joint_step' | 'camera_black' | string)[] = chunk.guard.findings.map(({ kind }) => kind)
const vision: number = chunk.serverTiming.vision_ms
// @ts-expect-error: not a name of a finding.
const wrong: 'no_such_kind' | undefined = chunk.guard.findings[0]?.kind
// @ts-expect-error: a row is numbers.
const text: string | undefined = chunk.actions[0]?.[0]
// @ts-expect-error: a deadline is a number of milliseconds.
void (() => client.infer({}, { deadlineMs: 'soon' }))
await client.close()
if (chunk.actions.length !== 10 || chunk.actions[0]?.length !== 7)
  throw new ClientError('SHAPE', 'not 10 × 7')
console.log(JSON.stringify({ first: chunk.actions[0], kinds, vision, wrong, text }))
void [ChunkExecutor, STRATEGIES, BrowserClient]
