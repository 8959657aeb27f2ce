import { execFile } from 'node:child_process'
import { copyFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import openapiTS, { astToString, type OpenAPI3 } from 'openapi-typescript'
import t from 'tap'
import { repositoryPath, servePolicy } from '../support/served-policy.js'

const run = promisify(execFile)

t.test('a client that openapi-typescript types compiles strictly, and infers with openapi-fetch', async t => {
  const { app, close } = await servePolicy(undefined, { apiKey: 'a-key' })
  t.teardown(close)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const response = await fetch(`${url}/openapi.json`, { headers: { authorization: 'Bearer a-key' } })
  const document = (await response.json()) as OpenAPI3

  const folder = t.testdir()
  symlinkSync(repositoryPath('node_modules'), join(folder, 'node_modules'))
  writeFileSync(join(folder, 'turbo-pi.ts'), astToString(await openapiTS(document)))
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module' }))
  copyFileSync(repositoryPath('test/clients/programs/openapi-fetch.ts'), join(folder, 'client.ts'))
  const options = {
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    target: 'ES2022',
    module: 'NodeNext',
    types: ['node'],
  }
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: options, files: ['client.ts'] }),
  )
  const compiled = await run(process.execPath, [repositoryPath('node_modules/typescript/bin/tsc')], {
    cwd: folder,
  }).catch(error => error)
  t.equal(compiled.stdout, '')

  const infer = document.paths!['/infer'] as {
    post: { requestBody: { content: Record<string, { example?: object }> } }
  }
  const example = JSON.stringify(infer.post.requestBody.content['application/json']!.example)
  const { stdout } = await run(process.execPath, [join(folder, 'client.js'), url, 'a-key', example])
  t.equal(stdout, '10 × 7 actions\n')
})
