/**
 * How a prompt becomes text for the tokenizer (network §4.2). `plain` is the pi0 form (also pi05_libero's);
 * `state` writes the normalised state into the prompt in 256 bins; `line` is LeRobot's pi0, which leaves the prompt as it is.
 */
export type PromptForm = 'plain' | 'state' | 'line'

const EDGES = 256

/**
 * The bin of one normalised number: edges −1 + k/128 that are not above it, minus one, so −1…255. Compared with the
 * edges themselves: scaling and rounding down is wrong for some numbers next to an edge.
 */
export function stateBin(value: number): number {
  if (Number.isNaN(value)) return EDGES - 1
  const edge = (k: number) => -1 + k / 128
  let bin = Math.min(EDGES - 1, Math.max(-1, Math.floor((value + 1) * 128)))
  while (bin < EDGES - 1 && edge(bin + 1) <= value) bin++
  while (bin >= 0 && edge(bin) > value) bin--
  return bin
}

/** White space as Python's str.strip() knows it: with the separators 1C–1F and NEL, without the byte order mark. */
const isSpace = (char: string) =>
  char !== '\ufeff' && (/[\s\x85]/.test(char) || (char >= '\x1c' && char <= '\x1f'))

function strip(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isSpace(text[start] as string)) start++
  while (end > start && isSpace(text[end - 1] as string)) end--
  return text.slice(start, end)
}

/** Stripped, with `_` and newlines as spaces. */
export const cleanPrompt = (prompt: string): string =>
  strip(prompt).replaceAll('_', ' ').replaceAll('\n', ' ')

/**
 * The strings that are tokenised one after the other, behind a BOS token. `state` is normalised and un-padded
 * (some LeRobot checkpoints were trained on the padded one).
 */
export function promptTexts(prompt: string, form: PromptForm, state: Float64Array): string[] {
  if (form === 'line') return [prompt.endsWith('\n') ? prompt : `${prompt}\n`]
  const clean = cleanPrompt(prompt)
  if (form === 'plain') return [clean, '\n']
  return [`Task: ${clean}, State: ${Array.from(state, stateBin).join(' ')};\nAction: `]
}
