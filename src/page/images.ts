import { IMAGE_SIZE } from '../tabletop/drawing.js'

/** A camera image as `POST /infer` and `WS /stream` take raw pixels. */
export function rgb8(pixels: Uint8Array): object {
  return { data: base64(pixels), encoding: 'rgb8', width: IMAGE_SIZE, height: IMAGE_SIZE }
}

/** Bytes that one call of String.fromCharCode takes safely. */
const SLICE = 0x8000

function base64(bytes: Uint8Array): string {
  let binary = ''
  for (let at = 0; at < bytes.length; at += SLICE)
    binary += String.fromCharCode(...bytes.subarray(at, at + SLICE))
  return btoa(binary)
}

/** Shows u8 RGB [224, 224, 3] on a canvas of that size. */
export function show(canvas: HTMLCanvasElement, pixels: Uint8Array): void {
  const image = new ImageData(IMAGE_SIZE, IMAGE_SIZE)
  for (let from = 0, to = 0; from < pixels.length; from += 3, to += 4) {
    image.data[to] = pixels[from]!
    image.data[to + 1] = pixels[from + 1]!
    image.data[to + 2] = pixels[from + 2]!
    image.data[to + 3] = 255
  }
  canvas.getContext('2d')!.putImageData(image, 0, 0)
}
