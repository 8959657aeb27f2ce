import { sha256OfFiles } from '../../storage/sha256-files.js'
import type { Policy } from '../policy.js'
import { RobotPolicy } from '../robot-policy.js'
import { type CheckResult, Checks } from './checklist.js'
import { digestedFiles, readPolicyDirectory } from './directory.js'
import { inspectPolicy } from './inspect.js'
import type { PolicyOptions } from './openpi.js'

/**
 * Loads a policy directory: our own (policy.json), an openpi checkpoint converted to PyTorch (with `config`), or a
 * LeRobot one. Nothing is guessed: the first thing that is missing or does not agree is a TurboPiError POLICY_INVALID,
 * CHECKPOINT_INVALID, NORM_STATS_INVALID or TOKENIZER_INVALID that names it.
 */
export async function loadPolicy(directory: string, options: PolicyOptions = {}): Promise<Policy> {
  const digests = await sha256OfFiles(listedFiles(directory, options))
  const parts = inspectPolicy(directory, options, new Checks({ stopAtFirst: true }), digests)
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

/** Runs every check of `loadPolicy` to the end, for a report. */
export function checkPolicy(directory: string, options: PolicyOptions = {}): readonly CheckResult[] {
  const checks = new Checks({ stopAtFirst: false })
  inspectPolicy(directory, options, checks)
  return checks.results
}
