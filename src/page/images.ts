import { IMAGE_SIZE } from '../tabletop/drawing.js'

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
