import { mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Makes a directory and those that it lies in, unless they are there. Node's own `recursive` goes round without end where a
 * parent is there and still ENOENT is all that comes of making something in it, as in /proc.
 */
export function makeDirectory(path: string): void {
  try {
    make(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(path) === path) throw error
    makeDirectory(dirname(path))
    make(path)
  }
}

function make(path: string): void {
  try {
    mkdirSync(path)
  } catch (error) {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return
    throw error
  }
}
