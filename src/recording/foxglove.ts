import { create, toBinary } from '@bufbuild/protobuf'
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  file_google_protobuf_timestamp,
  TimestampSchema,
} from '@bufbuild/protobuf/wkt'

const { STRING, BYTES, MESSAGE, FIXED32 } = FieldDescriptorProto_Type

type Fields = Readonly<Record<string, readonly [number: number, type: FieldDescriptorProto_Type]>>

/** Foxglove's CompressedImage.proto. */
const COMPRESSED = {
  timestamp: [1, MESSAGE],
  data: [2, BYTES],
  format: [3, STRING],
  frame_id: [4, STRING],
} as const satisfies Fields

/** Foxglove's RawImage.proto. */
const RAW = {
  timestamp: [1, MESSAGE],
  width: [2, FIXED32],
  height: [3, FIXED32],
  encoding: [4, STRING],
  step: [5, FIXED32],
  data: [6, BYTES],
  frame_id: [7, STRING],
} as const satisfies Fields

/** MCAP's schema of the encoding `protobuf`: a FileDescriptorSet with all that the message refers to. */
function schemaOf(name: string, fields: Fields) {
  const file = create(FileDescriptorProtoSchema, {
    name: `foxglove/${name}.proto`,
    package: 'foxglove',
    syntax: 'proto3',
    dependency: [file_google_protobuf_timestamp.proto.name],
    messageType: [
      {
        name,
        field: Object.entries(fields).map(([field, [number, type]]) => ({
          name: field,
          number,
          type,
          label: FieldDescriptorProto_Label.OPTIONAL,
          ...(type === MESSAGE && { typeName: `.${TimestampSchema.typeName}` }),
        })),
      },
    ],
  })
  const set = create(FileDescriptorSetSchema, { file: [file_google_protobuf_timestamp.proto, file] })
  return { name: `foxglove.${name}`, encoding: 'protobuf', data: toBinary(FileDescriptorSetSchema, set) }
}

export const compressedImageSchema = schemaOf('CompressedImage', COMPRESSED)
export const rawImageSchema = schemaOf('RawImage', RAW)

/** What a camera saw: a picture file, or 8-bit RGB [height, width, 3]. */
export type CameraImage =
  | { format: 'jpeg' | 'png' | 'webp'; data: Uint8Array }
  | { format: 'rgb8'; width: number; height: number; data: Uint8Array }

const SECOND = 1_000_000_000n

/** A picture as the message of its schema; `time` is in Unix nanoseconds. */
export function encodeImage(image: CameraImage, camera: string, time: bigint): Uint8Array {
  const fields = image.format === 'rgb8' ? RAW : COMPRESSED
  const writer = new BinaryWriter()
  writer.tag(fields.timestamp[0], WireType.LengthDelimited).fork()
  writer.tag(1, WireType.Varint).int64(time / SECOND)
  writer.tag(2, WireType.Varint).int32(Number(time % SECOND))
  writer.join()
  writer.tag(fields.frame_id[0], WireType.LengthDelimited).string(camera)
  if (image.format === 'rgb8') {
    writer.tag(RAW.width[0], WireType.Bit32).fixed32(image.width)
    writer.tag(RAW.height[0], WireType.Bit32).fixed32(image.height)
    writer.tag(RAW.encoding[0], WireType.LengthDelimited).string('rgb8')
    writer.tag(RAW.step[0], WireType.Bit32).fixed32(3 * image.width)
  } else writer.tag(COMPRESSED.format[0], WireType.LengthDelimited).string(image.format)
  writer.tag(fields.data[0], WireType.LengthDelimited).uint32(image.data.length)
  return Buffer.concat([writer.finish(), image.data])
}

/** The picture of a message of one of the two schemas. Throws an Error for anything else. */
export function decodeImage(schema: string, message: Uint8Array): CameraImage {
  if (schema !== rawImageSchema.name && schema !== compressedImageSchema.name)
    throw new Error(`${schema} is no picture`)
  const raw = schema === rawImageSchema.name
  const fields: Fields = raw ? RAW : COMPRESSED
  const names = new Map(Object.entries(fields).map(([name, [number]]) => [number, name]))
  const reader = new BinaryReader(message)
  const found = { data: new Uint8Array(0) as Uint8Array, format: '', encoding: '', width: 0, height: 0 }
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag()
    const name = names.get(number)
    if (name === 'data') found.data = reader.bytes()
    else if (name === 'format' || name === 'encoding') found[name] = reader.string()
    else if (name === 'width' || name === 'height') found[name] = reader.fixed32()
    else reader.skip(type, number)
  }
  const { data, format, encoding, width, height } = found
  if (!raw) return { format: format as 'jpeg', data }
  if (encoding !== 'rgb8' || data.length !== width * height * 3)
    throw new Error(`a raw picture of ${width} × ${height}, ${encoding}, holds ${data.length} bytes`)
  return { format: 'rgb8', width, height, data }
}
