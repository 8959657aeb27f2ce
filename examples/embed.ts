/** A policy in a Fastify app of your own, and called in process: npx tsx examples/embed.ts. */
import { readFile } from 'node:fs/promises'
import fastify from 'fastify'
// In a project of your own: from 'turbo-pi'.
import { createRuntime, loadPolicy, PolicyService, turboPi } from '../src/index.js'

const file = (name: string) => readFile(new URL(name, import.meta.url))
const policy = await loadPolicy(new URL('../policies/tabletop', import.meta.url).pathname)
await using service = new PolicyService({ policy, runtime: createRuntime(policy, { runtime: 'cpu' }) })
await service.start()

// In process: no HTTP, no JSON.
const { actions, actionSize } = await service.infer(
  {
    images: {
      'observation/image': { kind: 'encoded', bytes: await file('image.jpg') },
      'observation/wrist_image': { kind: 'encoded', bytes: await file('wrist_image.jpg') },
    },
    state: { 'observation/state': Float64Array.from(JSON.parse((await file('state.json')).toString())) },
    prompt: (await file('prompt.txt')).toString().trim(),
  },
  { steps: 10, noise: 7 },
  { session: 'embed' },
)
console.log('in process:', Array.from(actions.subarray(0, actionSize)))

// The same policy under /robot of an app that does other things, too.
const app = fastify()
app.get('/', async () => 'my own page')
await app.register(turboPi, { policy: service, prefix: '/robot' })
const url = await app.listen({ port: 0, host: '127.0.0.1' })
const metadata = (await (await fetch(`${url}/robot/metadata`)).json()) as { policy: string }
console.log(`over HTTP: POST ${url}/robot/infer asks ${metadata.policy}`)
await app.close()
