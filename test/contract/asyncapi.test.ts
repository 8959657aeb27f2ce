import t from 'tap'
import { asyncApiDocument } from '../../src/contract/asyncapi.js'
import { EMBODIMENTS, observationSpec } from '../../src/policy/embodiment.js'

t.test('the AsyncAPI document holds together, for every embodiment', async t => {
  for (const [name, embodiment] of Object.entries(EMBODIMENTS)) {
    const shape = { horizon: 10, actionDim: 32, actionSize: embodiment.actionSize }
    const document = JSON.parse(
      JSON.stringify(asyncApiDocument(observationSpec(embodiment, undefined), shape)),
    )
    const resolve = (reference: string) =>
      reference
        .slice(2)
        .split('/')
        .reduce((node, key) => node?.[key], document)
    for (const { messages } of Object.values<{ messages: { $ref: string }[] }>(document.operations)) {
      for (const message of messages) t.ok(resolve(message.$ref), `${name}: ${message.$ref}`)
    }
    for (const message of Object.values<{ $ref: string }>(document.channels.stream.messages)) {
      t.ok(resolve(message.$ref)?.payload?.properties?.type, `${name}: ${message.$ref} has a type`)
    }
    const { observation } = document.components.messages.observation.payload.properties
    t.notOk(observation.required, 'fields of an observation may be left out')
    t.equal(observation.additionalProperties, false)
  }
})
