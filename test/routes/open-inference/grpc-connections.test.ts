import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { credentials, status } from '@grpc/grpc-js'
import t from 'tap'
import { certificate } from '../../support/certificates.js'
import { finishAll } from '../../support/fake-runtime.js'
import { fakeTensors, framedMessage, GrpcClient, grpcClient } from '../../support/open-inference.js'
import { startServer, stopServers, until } from '../../support/server.js'

t.teardown(stopServers)

const [image, state] = fakeTensors(3)
const slow = (config = {}) => startServer({ config: { grpcPort: 0, ...config } })
const fast = (config = {}) =>
  startServer({ runtime: { milliseconds: 1 }, config: { grpcPort: 0, ...config } })
/** Headers of ModelInfer, for connections that are made by hand. */
const CALL = {
  ':method': 'POST',
  ':path': '/inference.GRPCInferenceService/ModelInfer',
  'content-type': 'application/grpc',
}

t.test('without a port there is no gRPC', async t => {
  const { app } = await startServer()
  t.equal(await app.listenGrpc(), undefined)
})

t.test('a port that is taken ends the start', async t => {
  const first = await fast()
  const { port, client } = await grpcClient(first)
  const second = await fast({ grpcPort: port })
  await t.rejects(second.app.listenGrpc(), {
    code: 'LISTEN_FAILED',
    message: /for gRPC: .*Choose another with --grpc-port/,
  })
  client.close()
})

t.test('a call that is cancelled gives its place up', async t => {
  const server = await slow()
  const { client } = await grpcClient(server)
  const call = client.infer(fakeTensors(1, 2))
  await until(() => server.runtime.open.length === 1, 'the first row is computed')
  client.call!.cancel()
  await t.rejects(call, { code: status.CANCELLED })
  await until(() => server.runtime.open.length === 0, 'the engine is free')
  const depth = server.service.metrics.registry.getSingleMetric('turbo_pi_queue_depth')!
  t.equal((await depth.get()).values[0]!.value, 0, 'nobody waits')
  client.close()
})

t.test('a client whose connection is gone gives its place up', async t => {
  const server = await slow()
  const { port, client } = await grpcClient(server)
  const session = connectHttp2(`http://127.0.0.1:${port}`)
  session.request(CALL).end(framedMessage([image, state]))
  await until(() => server.runtime.open.length === 1, 'the call is computed')
  session.destroy()
  await until(() => server.runtime.open.length === 0, 'the engine is free')
  t.strictSame(await client.ask('ServerLive'), { live: true })
  client.close()
})

t.test('the deadline of a call is the deadline of its inference', async t => {
  const server = await slow()
  const { client } = await grpcClient(server)
  await t.rejects(client.infer([image, state], {}, { deadline: new Date(Date.now() + 100) }), {
    code: status.DEADLINE_EXCEEDED,
  })
  await until(() => server.runtime.open.length === 0, 'the engine is free')
  const parameters = { deadline_ms: { double_param: 50 } }
  await t.rejects(client.infer([image, state], { parameters }), {
    code: status.DEADLINE_EXCEEDED,
    details: /^DEADLINE_EXCEEDED: The deadline passed/,
  })
  client.close()
})

t.test('keys are asked for before a message is read, and their limits hold', async t => {
  const file = join(t.testdir(), 'keys.json')
  writeFileSync(file, JSON.stringify([{ name: 'lab', key: 'secret', requests_per_second: 2, in_flight: 2 }]))
  const server = await fast({ apiKeys: file })
  const { client, port } = await grpcClient(server)
  t.strictSame(await client.ask('ServerReady'), { ready: true })
  t.strictSame(await client.ask('ModelReady', { name: 'default' }), { ready: true })
  for (const metadata of [{}, { authorization: 'Bearer wrong' }] as Record<string, string>[])
    for (const method of ['ServerMetadata', 'ModelMetadata', 'ModelInfer'])
      await t.rejects(client.ask(method, {}, { metadata }), {
        code: status.UNAUTHENTICATED,
        details: /^UNAUTHORIZED: Send the header Authorization/,
      })
  // A message that never comes: the refusal does not wait for it.
  const session = connectHttp2(`http://127.0.0.1:${port}`)
  const stream = session.request(CALL)
  const [headers] = await once(stream, 'response')
  t.equal(headers['grpc-status'], String(status.UNAUTHENTICATED))
  session.destroy()
  const metadata = { authorization: 'Api-Key secret' }
  t.ok(await client.infer([image, state], {}, { metadata }))
  const many = fakeTensors(...Array.from({ length: 60 }, (_, token) => token))
  await t.rejects(client.infer(many, {}, { metadata }), {
    code: status.RESOURCE_EXHAUSTED,
    details: /^RATE_LIMITED: The key lab may send 2 requests a second/,
  })
  client.close()
})

t.test('answers under way are delivered when the server stops', async t => {
  const server = await slow()
  const { client, port } = await grpcClient(server)
  const call = client.infer([image, state])
  await until(() => server.runtime.open.length === 1, 'the call is computed')
  const half = connectHttp2(`http://127.0.0.1:${port}`)
  const stream = half.request(CALL)
  stream.on('error', () => {}).write(Buffer.of(0, 0, 0, 1, 0, 1))
  half.on('error', () => {})
  await sleep(50)
  let closed = false
  const stopping = server.app.close().then(() => {
    closed = true
  })
  await sleep(100)
  t.equal(closed, false, 'it waits for the answer')
  await finishAll(server.runtime)
  t.match(await call, { model_name: 'default' })
  await stopping
  await t.rejects(client.ask('ServerLive'), { code: status.UNAVAILABLE })
  client.close()
})

t.test('messages that come slowly, or take more memory than there is, are refused', async t => {
  const server = await fast({ requestTimeout: 300, requestMemory: 2 ** 20 })
  const { client, port } = await grpcClient(server)
  const begun = () => {
    const session = connectHttp2(`http://127.0.0.1:${port}`)
    const stream = session.request(CALL)
    stream.on('error', () => {})
    return { session, stream, said: once(stream, 'response') }
  }
  const late = begun()
  late.stream.write(Buffer.of(0, 0, 0, 1, 0))
  const [headers] = await late.said
  t.equal(headers['grpc-status'], String(status.DEADLINE_EXCEEDED))
  t.match(decodeURI(headers['grpc-message']), /^REQUEST_TIMEOUT: The message did not come in whole/)
  const greedy = begun()
  greedy.stream.write(Buffer.concat([Buffer.of(0, 1, 0, 0, 0), Buffer.alloc(3 * 2 ** 20)]))
  const [refusal] = await greedy.said
  t.equal(refusal['grpc-status'], String(status.UNAVAILABLE))
  t.match(decodeURI(refusal['grpc-message']), /^OVERLOADED: What clients are sending takes more than/)
  t.match(await client.infer([image, state]), { model_name: 'default' }, 'others are answered meanwhile')
  for (const { session } of [late, greedy]) session.destroy()
  client.close()
})

t.test('what is no HTTP/2 costs nobody anything', async t => {
  const server = await fast()
  const { client, port } = await grpcClient(server)
  for (const text of ['GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', '\0'.repeat(100)]) {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    socket.write(text)
    socket.resume()
    await once(socket, 'close')
  }
  t.match(await client.infer([image, state]), { model_name: 'default' })
  client.close()
})

t.test('connections are bounded: one more takes the place of the most silent', async t => {
  const server = await fast({ maxConnections: 2 })
  const { client, port } = await grpcClient(server)
  const silent = connect(port, '127.0.0.1').on('error', () => {})
  await once(silent, 'connect')
  await client.ask('ServerLive')
  const other = new GrpcClient(port)
  t.strictSame(await other.ask('ServerLive'), { live: true })
  if (!silent.closed) await once(silent.resume(), 'close')
  t.strictSame(await client.ask('ServerLive'), { live: true })
  client.close()
  other.close()
})

t.test('TLS with the server’s certificate, and another one without a new start', async t => {
  const authority = certificate('turbo-pi test authority')
  const folder = t.testdir()
  const files = { tlsCert: join(folder, 'cert.pem'), tlsKey: join(folder, 'key.pem') }
  const write = () => {
    const { cert, key } = certificate('localhost', authority)
    writeFileSync(files.tlsCert, cert)
    writeFileSync(files.tlsKey, key)
  }
  write()
  const server = await fast(files)
  const port = (await server.app.listenGrpc())!
  const trusting = () => new GrpcClient(port, credentials.createSsl(Buffer.from(authority.cert)), 'localhost')
  const first = trusting()
  t.match(await first.infer([image, state]), { model_name: 'default' })
  const plain = new GrpcClient(port)
  await t.rejects(plain.ask('ServerLive', {}, { deadline: new Date(Date.now() + 500) }))
  write()
  server.app.reloadAccess()
  const second = trusting()
  t.strictSame(await second.ask('ServerLive'), { live: true })
  for (const client of [first, plain, second]) client.close()
})
