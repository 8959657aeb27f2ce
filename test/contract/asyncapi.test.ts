import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'

t.test('every reference of openapi/asyncapi.json resolves, and every message has a type', async t => {
  const text = readFileSync(fileURLToPath(new URL('../../openapi/asyncapi.json', import.meta.url)), 'utf8')
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
