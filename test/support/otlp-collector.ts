import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'

/** A span as a collector got it. Times are Unix milliseconds. */
export interface CollectedSpan {
  name: string
  traceId: string
  spanId: string
  parentId: string
  kind: number
  start: number
  end: number
  attributes: Record<string, unknown>
  links: { traceId: string; spanId: string }[]
  status: { code: number; message: string }
  resource: Record<string, unknown>
}

/** The fields of a message by their numbers, undecoded. */
type Fields = Map<number, (Uint8Array | bigint)[]>

function fieldsOf(bytes: Uint8Array): Fields {
  const reader = new BinaryReader(bytes)
  const fields: Fields = new Map()
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag()
    const value =
      type === WireType.LengthDelimited
        ? reader.bytes()
        : type === WireType.Bit64
          ? BigInt(reader.fixed64())
          : type === WireType.Bit32
            ? BigInt(reader.fixed32())
            : BigInt(reader.uint64())
    fields.set(number, [...(fields.get(number) ?? []), value])
  }
  return fields
}

const inside = (fields: Fields, number: number) =>
  (fields.get(number) ?? []).map(value => fieldsOf(value as Uint8Array))
const hex = (fields: Fields, number: number) =>
  Buffer.from((fields.get(number)?.[0] as Uint8Array) ?? []).toString('hex')
const text = (fields: Fields, number: number) =>
  Buffer.from((fields.get(number)?.[0] as Uint8Array) ?? []).toString()
const whole = (fields: Fields, number: number) => (fields.get(number)?.[0] as bigint) ?? 0n
const unixMs = (fields: Fields, number: number) => Number(whole(fields, number)) / 1e6

/** opentelemetry.proto.common.v1.KeyValue: key 1, value 2 {string 1, bool 2, int 3, double 4}. */
const attributesOf = (fields: Fields, number: number): Record<string, unknown> =>
  Object.fromEntries(
    inside(fields, number).map(pair => {
      const [value] = inside(pair, 2)
      if (value?.has(2)) return [text(pair, 1), whole(value, 2) === 1n]
      if (value?.has(3)) return [text(pair, 1), Number(whole(value, 3))]
      return [text(pair, 1), text(value!, 1)]
    }),
  )

/** ExportTraceServiceRequest, by the numbers of opentelemetry.proto.trace.v1. */
function spansOf(body: Uint8Array): CollectedSpan[] {
  return inside(fieldsOf(body), 1).flatMap(resourceSpans => {
    const resource = attributesOf(inside(resourceSpans, 1)[0]!, 1)
    return inside(resourceSpans, 2)
      .flatMap(scopeSpans => inside(scopeSpans, 2))
      .map(span => {
        const [status = new Map()] = inside(span, 15)
        return {
          name: text(span, 5),
          traceId: hex(span, 1),
          spanId: hex(span, 2),
          parentId: hex(span, 4),
          kind: Number(whole(span, 6)),
          start: unixMs(span, 7),
          end: unixMs(span, 8),
          attributes: attributesOf(span, 9),
          links: inside(span, 13).map(link => ({ traceId: hex(link, 1), spanId: hex(link, 2) })),
          status: { code: Number(whole(status, 3)), message: text(status, 2) },
          resource,
        }
      })
  })
}

/** A collector that takes OTLP over HTTP in protobuf, and keeps what it got. */
export async function startCollector() {
  const spans: CollectedSpan[] = []
  const server = createServer(async (request, response) => {
    if (request.url !== '/v1/traces' || request.headers['content-type'] !== 'application/x-protobuf')
      return response.writeHead(400).end()
    spans.push(...spansOf(await buffer(request)))
    return response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end()
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return {
    spans,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise(resolve => {
        server.close(resolve)
        server.closeAllConnections()
      }),
  }
}
