import { pathToFileURL } from 'node:url'
import { lintFromString, loadConfig } from '@redocly/openapi-core'
import core from '@stoplight/spectral-core'
import t from 'tap'
import { describedServer } from '../support/described-server.js'
import { repositoryPath } from '../support/served-policy.js'

const redoclyConfig = await loadConfig({ configPath: repositoryPath('redocly.yaml') })
const spectral = new core.Spectral()
const rules = await import(pathToFileURL(repositoryPath('.spectral.mjs')).href)
spectral.setRuleset(rules.default as core.RulesetDefinition)

async function redocly(document: object): Promise<string[]> {
  const problems = await lintFromString({ source: JSON.stringify(document), config: redoclyConfig })
  return problems.map(({ ruleId, message }) => `${ruleId}: ${message}`)
}

async function spectralProblems(document: object): Promise<string[]> {
  const problems = await spectral.run(JSON.stringify(document))
  return problems.map(({ code, message, path }) => `${code}: ${message} at ${path.join('/')}`)
}

const documentOf = async (...names: Parameters<typeof describedServer>[0]) => {
  const app = await describedServer(names)
  t.teardown(() => app.close())
  return structuredClone(app.swagger()) as unknown as {
    paths: Record<string, Record<string, { operationId?: string; responses: Record<string, object> }>>
  }
}

t.test('Redocly and Spectral find nothing in the documents of one policy and of several', async t => {
  for (const document of [await documentOf('libero'), await documentOf('libero', 'droid', 'aloha')]) {
    t.same(await redocly(document), [])
    t.same(await spectralProblems(document), [])
  }
})

t.test('both would say so', async t => {
  const document = await documentOf('libero')
  const infer = document.paths['/infer']!['post']!
  infer.operationId = document.paths['/metadata']!['get']!.operationId!
  infer.responses['4XX'] = {
    description: 'nothing is there',
    content: { 'a/b': { schema: { $ref: '#/absent' } } },
  }
  const problems = (await redocly(document)).join('\n')
  t.match(problems, /operation-operationId-unique/)
  t.match(problems, /no-unresolved-refs/)
  t.match((await spectralProblems(document)).join('\n'), /operation-operationId-unique/)
})
