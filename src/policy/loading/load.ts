import { statSync } from 'node:fs'
import { sha256OfFiles } from '../../storage/sha256-files.js'
import type { Policy } from '../policy.js'
import { RobotPolicy } from '../robot-policy.js'
import { readTokenizerElsewhere } from '../tokenizer/read-elsewhere.js'
import { type CheckResult, Checks } from './checklist.js'
import { digestedFiles, readPolicyDirectory } from './directory.js'
import { inspectPolicy, type ReadBefore } from './inspect.js'
import type { PolicyOptions } from './openpi.js'
import { tokenizerPath } from './tokenizer-file.js'

/** Bytes of a tokenizer that takes longer to read than a thread to start. */
const LARGE_TOKENIZER = 2 ** 20

/**
 * Loads a policy directory: our own (policy.json), an openpi checkpoint converted to PyTorch (with `config`), or a
 * LeRobot one. Nothing is guessed: the first thing that is missing or does not agree is a TurboPiError POLICY_INVALID,
 * CHECKPOINT_INVALID, NORM_STATS_INVALID or TOKENIZER_INVALID that names it.
 */
export async function loadPolicy(directory: string, options: PolicyOptions = {}): Promise<Policy> {
  const digests = await sha256OfFiles(listedFiles(directory, options))
  const tokenizer = await largeTokenizer(directory, options)
  const checks = new Checks({ stopAtFirst: true })
  const parts = inspectPolicy(directory, options, checks, { digests, tokenizer })
  if (!parts) throw new Error('a check failed without an error')
  return new RobotPolicy(parts)
}

/** Files of several GB that are read in another thread, so that a server that loads a policy goes on meanwhile. */
function listedFiles(directory: string, { adapter }: PolicyOptions): string[] {
  try {
    return digestedFiles(readPolicyDirectory(directory, adapter))
  } catch {
    // The checks say what is wrong.
    return []
  }
}

/** Vocabularies of a quarter of a million pieces, which are read in another thread for the same reason. */
async function largeTokenizer(directory: string, options: PolicyOptions): Promise<ReadBefore['tokenizer']> {
  let path: string
  try {
    path = tokenizerPath(readPolicyDirectory(directory, options.adapter), options)
    if (statSync(path).size < LARGE_TOKENIZER) return undefined
  } catch {
    // The checks say what is wrong.
    return undefined
  }
  return { path, file: await readTokenizerElsewhere(path) }
}

/** Runs every check of `loadPolicy` to the end, for a report. */
export function checkPolicy(directory: string, options: PolicyOptions = {}): readonly CheckResult[] {
  const checks = new Checks({ stopAtFirst: false })
  inspectPolicy(directory, options, checks)
  return checks.results
}
