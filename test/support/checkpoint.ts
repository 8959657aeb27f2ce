import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

export const root = fileURLToPath(new URL('../../', import.meta.url))
/** The bundled policy: small, random, and complete. */
export const bundled = join(root, 'policies', 'tiny-libero')
export const golden = (path: string) => join(root, 'test', 'golden', path)

/** An openpi checkpoint directory as its converter writes it, with a tokenizer: a copy that a test may damage. */
export function openpiCheckpoint(t: Test): string {
  const directory = t.testdir({})
  for (const file of ['model.safetensors', 'config.json', 'tokenizer.model', 'assets'])
    cpSync(join(bundled, file), join(directory, file), { recursive: true })
  return directory
}
