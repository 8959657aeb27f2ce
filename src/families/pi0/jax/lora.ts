import type { LowRank } from '../low-rank.js'

/** A factor pair beside a base weight (openpi's models/lora.py), and how it is added to it. */
export interface Adapter extends LowRank {
  a: string
  b: string
}

/** Attention weights stand below a module, `…/w`; those of the feed-forward layers beside their adapters. */
export function adapterNames(leaf: string): { a: string; b: string } {
  const base = leaf.endsWith('/w') ? `${leaf.slice(0, -2)}/` : `${leaf}_`
  return { a: `${base}lora_a`, b: `${base}lora_b` }
}

const ADAPTED = /\/(attn\/(q|kv|attn_vec)_einsum(_1)?\/w|mlp(_1)?\/(gating_einsum|linear))$/

/** True for `lora_a` and `lora_b` of a weight that can have them. */
export function isAdapter(leaf: string, weights: Iterable<string>): boolean {
  for (const weight of weights) {
    if (!ADAPTED.test(weight)) continue
    const { a, b } = adapterNames(weight)
    if (leaf === a || leaf === b) return true
  }
  return false
}

/** Where an adapter is: which of the two networks, and whether its scale counts there. */
export const isExpert = (leaf: string) => /_1(\/|$)/.test(leaf)
export const isAttention = (leaf: string) => leaf.includes('/attn/')
