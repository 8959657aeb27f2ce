import { closeSync, openSync, readFileSync, readSync, type Stats, statSync } from 'node:fs'
import { type ErrorCode, reasonOf, TurboPiError } from '../errors.js'

/** Bytes that tell what a file is. */
const HEAD = 512

/** What people give in place of a file: how its first bytes look, what it is, and what to do. */
const OTHERS: readonly [looks: (head: Buffer) => boolean, what: string, todo: string][] = [
  [
    head => head.toString('latin1').startsWith('version https://git-lfs.github.com/spec/'),
    'is a Git LFS pointer: a few lines that stand for the file, which was not downloaded.',
    'Run "git lfs pull" in its folder, or download the file itself.',
  ],
  [
    head => /^\s*<(!doctype html|html|\?xml|error)/i.test(head.toString('latin1')),
    'is a web page (HTML or XML): the answer to a download that was not allowed, or the page about the file.',
    'Sign in and accept its licence (for Hugging Face set HF_TOKEN), then download the file again.',
  ],
  [
    head => head.readUInt16BE(0) === 0x1f8b,
    'is compressed with gzip.',
    'Unpack it (gunzip, or tar xzf) and give what comes out.',
  ],
  [
    head => head.readUInt32BE(0) === 0x504b0304,
    'is a zip archive, as torch.save writes it (.pt, .bin), or one to unpack.',
    'Unpack it; PyTorch pickles are not read, since they run code: save the weights with safetensors.torch.save_file.',
  ],
  [
    head => head[0] === 0x80 && head[1]! >= 2 && head[1]! <= 5 && head[2] !== 0,
    'is a Python pickle (.pt, .bin, .pkl), which is not read, since it runs code.',
    'Save the weights with safetensors.torch.save_file.',
  ],
]

/**
 * Refuses what is no file or another file than it is taken for, before anything waits for it or believes its lengths: named
 * pipes, devices, Git LFS pointers, web pages, archives. Gives its size. Throws `code`.
 */
export function requireGivenFile(path: string, code: ErrorCode): number {
  const fail = (detail: string) => new TurboPiError(code, `${path}: ${detail}`)
  let descriptor: number | undefined
  try {
    const stats = statSync(path)
    if (!stats.isFile()) throw fail(`is ${kindOf(stats)}, not a file.\nPut a regular file there.`)
    descriptor = openSync(path, 'r')
    const head = Buffer.alloc(HEAD)
    readSync(descriptor, head)
    const other = OTHERS.find(([looks]) => looks(head))
    if (other) throw fail(`${other[1]}\n${other[2]}`)
    return stats.size
  } catch (error) {
    throw error instanceof TurboPiError ? error : fail(`cannot be opened: ${reasonOf(error)}`)
  } finally {
    if (descriptor !== undefined) closeSync(descriptor)
  }
}

/** All bytes of a file that must have some, and at most `maxBytes`. Throws `code`. */
export function readGivenFile(path: string, code: ErrorCode, maxBytes: number): Buffer {
  const size = requireGivenFile(path, code)
  if (size === 0)
    throw new TurboPiError(
      code,
      `${path}: cannot be read: it is empty, not written or downloaded to its end.\nCopy it again.`,
    )
  if (size > maxBytes)
    throw new TurboPiError(
      code,
      `${path}: has ${size} bytes; no file of its kind has more than ${maxBytes}.\nGive the right file.`,
    )
  return readFileSync(path)
}

function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return 'a directory'
  if (stats.isFIFO()) return 'a named pipe'
  return stats.isSocket() ? 'a socket' : 'a device'
}
