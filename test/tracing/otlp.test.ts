import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import t from 'tap'
import { rgbImage, TurboPiClient } from '../../src/client/index.js'
import { encodeMsgpack } from '../../src/contract/msgpack.js'
import { otlpSink } from '../../src/tracing/otlp.js'
import { trace } from '../../src/tracing/tracer.js'
import { startCollector } from '../support/otlp-collector.js'
import { repositoryPath } from '../support/served-policy.js'
import { startServer, stopServers, until } from '../support/server.js'

t.teardown(stopServers)

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const PARENT = '00f067aa0ba902b7'

const observation = {
  'observation/image': rgbImage(new Uint8Array(48), 4, 4),
  'observation/state': [1, 0],
}

const OPTIONS = { version: '9.9.9', instance: 'here', everyMs: 20 }

t.test('a collector gets the spans of requests and of robots', async t => {
  const collector = await startCollector()
  const { url, served } = await startServer({ runtime: { milliseconds: 5 } })
  const sink = otlpSink({ ...OPTIONS, endpoint: collector.url, warn: t.fail })
  trace(served, sink, 1)
  const traceparent = `00-${TRACE}-${PARENT}-01`
  const reply = await fetch(`${url}/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/msgpack', 'x-robot': 'arm-1', traceparent },
    body: Buffer.from(encodeMsgpack(observation)),
  })
  t.equal(reply.status, 200)
  t.equal(reply.headers.get('traceparent'), traceparent, 'given out, too')
  await using client = await TurboPiClient.connect(url, { robot: 'arm-2' })
  await client.infer(observation)
  const second = await client.infer(observation)
  const rooted = () => collector.spans.filter(({ name }) => name === 'infer')
  await until(() => rooted().length === 3, 'all are there')
  await sink.close(5000)
  const roots = rooted()
  t.equal(roots.length, 3)
  const [request, , streamed] = roots
  t.match(request, {
    traceId: TRACE,
    parentId: PARENT,
    kind: 2,
    attributes: { 'turbo_pi.robot': 'arm-1', 'turbo_pi.policy': 'default' },
    resource: { 'service.name': 'turbo-pi', 'service.version': '9.9.9', 'service.instance.id': 'here' },
  })
  t.equal(streamed!.attributes['turbo_pi.chunk_id'], second.chunkId)
  t.match(streamed!.attributes, { 'turbo_pi.robot': 'arm-2', 'turbo_pi.seq': 1, 'turbo_pi.late': false })
  const stages = collector.spans.filter(({ parentId }) => parentId === streamed!.spanId)
  t.strictSame(
    stages.map(({ name }) => name),
    ['receive', 'decode', 'queue', 'vision', 'prefix', 'denoise', 'postprocess', 'send'],
  )
  t.ok(stages.every(({ start, end }) => start >= streamed!.start - 0.01 && end <= streamed!.end + 0.01))
  t.ok(Math.abs(streamed!.end - Date.now()) < 60_000, 'in Unix time')
  await collector.close()
})

t.test('a collector that is down costs no answer, and a line of the log now and then', async t => {
  const { url, served } = await startServer({ runtime: { milliseconds: 1 } })
  const warnings: string[] = []
  const gone = await startCollector()
  await gone.close()
  const sink = otlpSink({ ...OPTIONS, endpoint: gone.url, warn: line => warnings.push(line) })
  trace(served, sink, 1)
  await using client = await TurboPiClient.connect(url)
  for (let asked = 0; asked < 20; asked += 1) await client.infer(observation)
  await until(() => warnings.length > 0, 'it says so')
  for (let asked = 0; asked < 20; asked += 1) await client.infer(observation)
  await sink.close(100)
  t.equal(warnings.length, 1)
  t.match(warnings[0], /^Traces cannot be sent to http:.*\/v1\/traces \(.+\); \d+ spans lost so far\.$/)
})

t.test('more spans than can be sent are dropped, not kept', async t => {
  const collector = await startCollector()
  const sink = otlpSink({ ...OPTIONS, everyMs: 60_000, endpoint: collector.url, warn: t.fail })
  const context = { traceId: TRACE, spanId: PARENT, sampled: true }
  for (let span = 0; span < 10_000; span += 1)
    sink.add({ name: 'infer', context, parent: undefined, start: 0, end: 1, attributes: {} })
  await sink.close(60_000)
  // The queue, and one batch that was on its way.
  const most = 4096 + 512
  t.ok(collector.spans.length >= 4096 && collector.spans.length <= most, `${collector.spans.length}`)
  await collector.close()
})

t.test("OpenTelemetry's packages are loaded for traces alone", t => {
  const importing = readdirSync(repositoryPath('src'), { recursive: true, encoding: 'utf8' })
    .map(name => join(repositoryPath('src'), name))
    .filter(file => file.endsWith('.ts'))
    .filter(file => /(?:from|import\() ?'[./]*tracing\/otlp\.js'/.test(readFileSync(file, 'utf8')))
  t.strictSame(
    importing.map(file => basename(file)),
    ['configured-traces.ts'],
  )
  const source = readFileSync(importing[0]!, 'utf8')
  t.ok(source.indexOf("await import('../../tracing/otlp.js')") > source.indexOf('return undefined'))
  t.end()
})
