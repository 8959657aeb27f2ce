import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { asyncApiDocument } from '../../src/contract/asyncapi.js'
import { loadPolicy } from '../../src/policy/load.js'

/** `UPDATE=1 npx tap test/contract/asyncapi.test.ts` writes the document anew. */
t.test('openapi/asyncapi.json is what the schemas say', async t => {
  const file = fileURLToPath(new URL('../../openapi/asyncapi.json', import.meta.url))
  const directory = fileURLToPath(new URL('../../policies/tiny-libero', import.meta.url))
  const policy = await loadPolicy(directory)
  const { actionHorizon: horizon, actionDim } = policy.model
  const document = asyncApiDocument(policy.spec, { horizon, actionDim, actionSize: policy.actionSize })
  await policy.close()
  const text = `${JSON.stringify(document, undefined, 2)}\n`
  if (process.env['UPDATE'] === '1') writeFileSync(file, text)
  t.ok(text === readFileSync(file, 'utf8'), 'regenerate it with UPDATE=1')

  const { channels, operations, components } = JSON.parse(text)
  const resolve = (reference: string) =>
    reference
      .slice(2)
      .split('/')
      .reduce((node, key) => node?.[key], JSON.parse(text))
  for (const operation of Object.values<{ messages: { $ref: string }[] }>(operations)) {
    for (const message of operation.messages) t.ok(resolve(message.$ref), message.$ref)
  }
  for (const message of Object.values<{ $ref: string }>(channels.stream.messages)) {
    t.ok(resolve(message.$ref)?.payload?.properties?.type, `${message.$ref} has a type`)
  }
  t.same(Object.keys(components.messages), [
    'observation',
    'observation_msgpack',
    'reset',
    'ready',
    'actions',
    'skipped',
    'error',
  ])
})
