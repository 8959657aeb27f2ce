import sharp from 'sharp'
import { reasonOf } from '../../errors.js'
import type { Size } from './header.js'
import type { RgbImage } from './resize.js'

/**
 * The pixels of a JPEG, PNG or WebP file, as Pillow's convert('RGB') would give them: alpha dropped, EXIF orientation and colour
 * profiles not applied. Or what is wrong with the file, in words.
 */
export async function decodeFile(bytes: Uint8Array, announced: Size): Promise<RgbImage | string> {
  try {
    const file = sharp(bytes, { failOn: 'error', limitInputPixels: false, ignoreIcc: true })
    const { width, height, space, depth } = await file.metadata()
    if (width !== announced.width || height !== announced.height)
      throw new Error(`its parts disagree about its size`)
    if (space === 'cmyk') return 'is a CMYK image; send RGB, the conversion would depend on a colour profile'
    if (depth !== 'uchar') return `has ${depth} samples; send 8 bits a channel`
    const { data, info } = await file
      .removeAlpha()
      .toColourspace('srgb')
      .raw()
      .toBuffer({ resolveWithObject: true })
    if (info.channels !== 3) throw new Error(`it decodes to ${info.channels} channels`)
    return { pixels: data, width: info.width, height: info.height }
  } catch (error) {
    return `could not be decoded: ${reasonOf(error).replaceAll(/\s+/g, ' ')}`
  }
}
