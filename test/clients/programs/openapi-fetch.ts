import assert from 'node:assert/strict'
import createClient from 'openapi-fetch'
import type { components, paths } from './turbo-pi.js'

type ActionChunk = components['schemas']['ActionChunk']

const [, , url = '', key = '', example = ''] = process.argv
const client = createClient<paths>({ baseUrl: url, headers: { authorization: `Api-Key ${key}` } })

const metadata = await client.GET('/metadata')
assert(metadata.data, 'GET /metadata')
const { horizon, actionSize } = metadata.data.shape

const observation = JSON.parse(example) as components['schemas']['Observation']
const { data, error } = await client.POST('/infer', {
  body: { ...observation, options: { seed: 7, num_steps: 2 } },
})
assert(data, error?.detail)
const { actions, seed }: ActionChunk = data
assert.equal(actions.length, horizon)
assert.equal(actions[0]?.length, actionSize)
assert.equal(seed, 7)

// @ts-expect-error What the server refuses is an error of the compiler, too.
const wrong = await client.POST('/infer', { body: { ...observation, prompt: 5 } })
assert.equal(wrong.error?.code, 'OBSERVATION_INVALID')
assert.equal(wrong.error.errors[0]?.pointer, '/prompt')

console.log(`${actions.length} × ${actionSize} actions`)
