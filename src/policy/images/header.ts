/** Width and height in pixels. */
export interface Size {
  width: number
  height: number
}

/** ITU T.81 §B.2.2: the frame header, behind other segments, which tell their length. */
function jpegSize(file: Buffer): Size | undefined {
  for (let at = 2; at < file.length; ) {
    if (file[at++] !== 0xff) continue
    while (file[at] === 0xff) at++
    const marker = file.readUInt8(at++)
    const standalone = marker === 0x00 || marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)
    if (standalone) continue
    // Scan or end before a frame.
    if (marker === 0xda || marker === 0xd9) return undefined
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc
    if (isFrame) return { height: file.readUInt16BE(at + 3), width: file.readUInt16BE(at + 5) }
    at += file.readUInt16BE(at)
  }
  return undefined
}

/** PNG §11.2.1: IHDR comes first. */
const pngSize = (file: Buffer): Size => ({ width: file.readUInt32BE(16), height: file.readUInt32BE(20) })

/** RFC 9649: lossy, lossless or extended. */
function webpSize(file: Buffer): Size | undefined {
  switch (file.toString('latin1', 12, 16)) {
    case 'VP8 ':
      return { width: file.readUInt16LE(26) & 0x3fff, height: file.readUInt16LE(28) & 0x3fff }
    case 'VP8L': {
      const bits = file.readUInt32LE(21)
      return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 }
    }
    case 'VP8X':
      return { width: file.readUIntLE(24, 3) + 1, height: file.readUIntLE(27, 3) + 1 }
    default:
      return undefined
  }
}

/** Only these formats reach the decoder: others (SVG, TIFF, PDF …) are attack surface, not cameras. */
const FORMATS: readonly [looks: (file: Buffer) => boolean, size: (file: Buffer) => Size | undefined][] = [
  [file => file.toString('latin1', 0, 3) === '\xff\xd8\xff', jpegSize],
  [file => file.toString('latin1', 0, 8) === '\x89PNG\r\n\x1a\n', pngSize],
  [file => file.toString('latin1', 0, 4) === 'RIFF' && file.toString('latin1', 8, 12) === 'WEBP', webpSize],
]

/**
 * The size that the header of a JPEG, PNG or WebP file announces, found in microseconds: what decoding it will cost, before
 * any of it is done. `null` for another kind of file, undefined for a header without a size.
 */
export function announcedSize(bytes: Uint8Array): Size | undefined | null {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const format = FORMATS.find(([looks]) => looks(file))
  if (!format) return null
  try {
    return format[1](file)
  } catch {
    // Cut short within the header.
    return undefined
  }
}
