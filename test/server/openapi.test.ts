import { readFile } from 'node:fs/promises'
import type { FastifyInstance } from 'fastify'
import sharp from 'sharp'
import t from 'tap'
import { exampleObservation } from '../../src/contract/example-observation.js'
import { MetadataSchema } from '../../src/contract/metadata.js'
import { RequestParser } from '../../src/contract/parse.js'
import { compileCheck } from '../../src/contract/validate.js'
import { EMBODIMENTS } from '../../src/policy/embodiment.js'
import { describedPolicy, describedServer, type EmbodimentName } from '../support/described-server.js'
import { repositoryPath, servePolicy } from '../support/served-policy.js'
import { startServer, stopServers } from '../support/server.js'

interface Media {
  schema: Record<string, unknown>
  example?: unknown
}
interface Operation {
  operationId: string
  tags: string[]
  security?: object[]
  requestBody?: { content: Record<string, Media> }
  responses: Record<string, { content?: Record<string, Media> }>
}
interface Document {
  servers: { url: string }[]
  security?: object[]
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, Record<string, unknown>>; securitySchemes: object }
}

const documentOf = async (app: FastifyInstance, headers: Record<string, string> = {}) => {
  const response = await app.inject({ url: '/openapi.json', headers })
  t.equal(response.statusCode, 200)
  return response.json() as Document
}
const operations = ({ paths }: Document) => Object.values(paths).flatMap(path => Object.values(path))
const key = { authorization: 'Api-Key a-key' }

t.teardown(stopServers)

t.test('the bundled policies answer the examples of their own documents', async t => {
  for (const name of ['tabletop', 'tiny-libero']) {
    const { app, close } = await servePolicy(repositoryPath(`policies/${name}`))
    t.teardown(close)
    const { content } = (await documentOf(app)).paths['/infer']!['post']!.requestBody!
    const response = await app.inject({
      method: 'POST',
      url: '/infer',
      headers: { 'content-type': 'application/json' },
      payload: JSON.stringify(content['application/json']!.example),
    })
    t.equal(response.statusCode, 200, response.body)
    t.equal(response.json().actions.length, 10)
    t.equal(response.json().truncated, false)

    const metadata = await app.inject({ url: '/metadata' })
    t.doesNotThrow(() => compileCheck(MetadataSchema)(metadata.json()), 'its metadata are as documented')
  }
})

t.test('every embodiment has an example, which its policies take', async t => {
  for (const name of Object.keys(EMBODIMENTS) as EmbodimentName[]) {
    const { observation, shape } = describedPolicy(name)
    const example = exampleObservation(observation)
    t.doesNotThrow(
      () => new RequestParser(observation, shape, { maxImages: 8 }).request(example, 'json'),
      name,
    )
    t.ok(JSON.stringify(example).length < 12_000, 'small enough for a document')
  }
})

t.test('the pictures of the example are those of examples/, halved', async t => {
  const example = exampleObservation(describedPolicy('libero').observation)
  for (const [field, file] of [
    ['observation/image', 'image.jpg'],
    ['observation/wrist_image', 'wrist_image.jpg'],
  ] as const) {
    const bytes = Buffer.from(example[field] as string, 'base64')
    t.same([...bytes.subarray(0, 3)], [0xff, 0xd8, 0xff], 'a JPEG')
    const small = await sharp(bytes).raw().toBuffer({ resolveWithObject: true })
    t.match(small.info, { width: 112, height: 112, channels: 3 })
    const large = await sharp(await readFile(repositoryPath(`examples/${file}`)))
      .resize(112, 112, { kernel: 'nearest' })
      .raw()
      .toBuffer()
    const difference =
      large.reduce((sum, value, i) => sum + Math.abs(value - small.data[i]!), 0) / large.length
    t.ok(difference < 8, `${difference} levels of 255 on average`)
  }
})

t.test(
  'three policies of one server: each operation has its own name, and each reference a target',
  async t => {
    const app = await describedServer(['libero', 'droid', 'aloha'])
    t.teardown(() => app.close())
    const document = await documentOf(app, key)
    const ids = operations(document).map(({ operationId }) => operationId)
    t.equal(new Set(ids).size, ids.length)
    t.ok(ids.includes('infer') && ids.includes('infer.policies.droid') && ids.includes('swapPolicy'))

    const { schemas } = document.components
    const references = JSON.stringify(document).match(/#\/components\/schemas\/[^"]+/g)!
    const targets = new Set(references.map(reference => reference.split('/').at(-1)!))
    t.same([...targets].sort(), Object.keys(schemas).sort())
    for (const name of ['Observation', 'ActionChunk', 'Problem', 'Metadata', 'GuardFinding', 'RtcOptions'])
      t.ok(schemas[name], name)
    t.notMatch(JSON.stringify(document), /"title":"(?!Turbo-Pi)/, 'what has a name stands nowhere else')
    t.ok(schemas['Observation.2'] && schemas['Observation.3'], 'their observations differ')
    t.notOk(schemas['Problem.2'])
  },
)

t.test('an operation needs a key as its document says, by header or cookie', async t => {
  const { app } = await startServer({ config: { apiKey: 'a-key' } })
  const document = await documentOf(app, key)
  t.same(Object.keys(document.components.securitySchemes), ['apiKey', 'bearer', 'session'])
  t.same(document.security, [{ apiKey: [] }, { bearer: [] }, { session: [] }])

  const login = await app.inject({ method: 'POST', url: '/page/session', payload: { key: 'a-key' } })
  t.equal(login.statusCode, 204)
  const cookie = String(login.headers['set-cookie']).split(';')[0]!
  const ways = [key, { authorization: 'Bearer a-key' }, { cookie }]
  for (const [path, methods] of Object.entries(document.paths)) {
    if (!methods['get']) continue
    const url = path.replace('{model}', 'default').replace('{version}', '1')
    const open = methods['get'].security?.length === 0
    t.equal((await app.inject({ url })).statusCode === 401, !open, `${url} without a key`)
    for (const headers of ways) t.equal((await app.inject({ url, headers })).statusCode, 200, url)
  }
  t.same(document.paths['/page/session']!['post']!.security, [])
})

t.test('a server without keys asks for none and has no session to open', async t => {
  const { app } = await startServer()
  const document = await documentOf(app)
  t.equal(document.security, undefined)
  t.notOk(document.paths['/page/session'])
})

t.test('every operation tells what its refusals look like', async t => {
  const app = await describedServer(['libero'])
  t.teardown(() => app.close())
  for (const { operationId, tags, responses } of operations(await documentOf(app, key))) {
    const [type, name] = tags.includes('open-inference')
      ? ['application/json', 'OpenInferenceError']
      : ['application/problem+json', 'Problem']
    t.same(responses['4XX']?.content?.[type!]?.schema, { $ref: `#/components/schemas/${name}` }, operationId)
  }
})

t.test('answers may get new fields, requests are checked strictly', async t => {
  const app = await describedServer(['libero'])
  t.teardown(() => app.close())
  const document = await documentOf(app, key)
  const { schemas } = document.components
  /** Names of the components that a schema reaches. */
  const reached = (node: unknown, names = new Set<string>()): Set<string> => {
    for (const [, name] of JSON.stringify(node).matchAll(/#\/components\/schemas\/([^"]+)/g))
      if (!names.has(name!)) reached(schemas[name!], names.add(name!))
    return names
  }
  const answers = reached(operations(document).map(({ responses }) => responses))
  t.ok(answers.has('ActionChunk') && answers.has('Metadata') && answers.has('Problem'))
  for (const name of answers) t.notMatch(JSON.stringify(schemas[name]), /"additionalProperties":false/, name)

  const requests = reached(operations(document).map(({ requestBody }) => requestBody ?? null))
  t.ok(requests.has('Observation') && requests.has('InferenceOptions'))
  // What msgpack-numpy writes beside the fields that are read is its own.
  requests.delete('NumpyArray')
  for (const name of requests) {
    const schema = schemas[name]!
    if (schema['properties']) t.equal(schema['additionalProperties'], false, name)
  }
})

t.test('/docs shows the same document, and its address is that of the proxy', async t => {
  const app = await describedServer(['libero'], { basePath: '/robot' })
  t.teardown(() => app.close())
  const document = await documentOf(app, key)
  t.same(
    document.servers.map(({ url }) => url),
    ['/robot'],
  )
  t.same((await app.inject({ url: '/docs/json', headers: key })).json(), document)
})
