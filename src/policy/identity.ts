import { sha256 } from '../storage/content.js'
import type { PolicyParts } from './parts.js'

/** Objects with their fields in one order, typed arrays as lists. */
const ordered = (_: string, value: unknown) => {
  if (ArrayBuffer.isView(value)) return Array.from(value as Float64Array)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}

/**
 * Digest of what makes a policy act as it does beside its weights: the network's config, the embodiment, statistics and
 * normalisation, the tokenizer's bytes, how prompts are written and images resized. A policy's name, its guard and its
 * defaults are settings of a server, and left out.
 */
export function policyIdentity(parts: PolicyParts): string {
  const { model, stats, normalisation, tokenizerDigest } = parts
  const { joints, $schema, ...embodiment } = parts.embodiment
  const { promptForm, paddedPromptState, resize } = parts
  const acts = {
    model,
    embodiment,
    stats,
    normalisation,
    tokenizerDigest,
    promptForm,
    paddedPromptState,
    resize,
  }
  return sha256(JSON.stringify(acts, ordered))
}

/** Names the policy that acts, by its own digest and that of its weights: the same on every machine and backend. */
export const modelIdentity = (policy: string, weights: string) => sha256(`${policy} ${weights}`).slice(0, 32)
