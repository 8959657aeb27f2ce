import { join } from 'node:path'
import sharp from 'sharp'
import { makeDirectory } from '../../storage/make-directory.js'
import { IMAGE_SIZE } from '../../tabletop/drawing.js'
import { promptOf, SUITE } from '../../tabletop/tasks.js'
import type { Frame } from './episode.js'

/** Control steps a second at which a film is shown; the last frame stays. */
const FRAME_MS = 80
const LAST_FRAME_MS = 1500

/** Writes an episode of a task, both cameras side by side, as an animated WebP into `directory`. */
export async function writeVideo(
  directory: string,
  task: number,
  steps: number,
  frames: readonly Frame[],
): Promise<void> {
  makeDirectory(directory)
  const name = promptOf(SUITE[task]!).replaceAll(' ', '-')
  const raw = { width: 2 * IMAGE_SIZE, height: IMAGE_SIZE, channels: 3 } as const
  const pages = await Promise.all(
    frames.map(frame => sharp(sideBySide(frame), { raw }).png({ compressionLevel: 1 }).toBuffer()),
  )
  const delay = pages.map((_, index) => (index === pages.length - 1 ? LAST_FRAME_MS : FRAME_MS))
  await sharp(pages, { join: { animated: true } })
    .webp({ quality: 60, loop: 0, delay })
    .toFile(join(directory, `${name}-${steps}-steps.webp`))
}

function sideBySide({ image, wristImage }: Frame): Uint8Array {
  const row = IMAGE_SIZE * 3
  const result = new Uint8Array(2 * image.length)
  for (let line = 0; line < IMAGE_SIZE; line++) {
    result.set(image.subarray(line * row, (line + 1) * row), 2 * line * row)
    result.set(wristImage.subarray(line * row, (line + 1) * row), (2 * line + 1) * row)
  }
  return result
}
