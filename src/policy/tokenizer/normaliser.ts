import type { TurboPiError } from '../../errors.js'
import type { NormaliserJson } from './tokenizer-json-schema.js'

/** Steps of a normaliser, one within another included, and how much longer all of them may make a text. */
const MOST_STEPS = 32
const MOST_GROWTH = 8
/** Letters that are put before a text. */
const LONGEST_PREFIX = 64

type Step = (text: string) => string

/** What a `tokenizer.json` does to a text before it is split into pieces. Throws what `refuse` makes. */
export function compileNormaliser(
  normaliser: NormaliserJson | null | undefined,
  refuse: (detail: string) => TurboPiError,
): Step {
  const steps = flattened(normaliser ?? { type: 'Sequence' }, refuse)
  if (steps.length > MOST_STEPS)
    throw refuse(`normalizer: has ${steps.length} steps; at most ${MOST_STEPS} are supported.`)
  let growth = 1
  const compiled = steps.map((step): Step => {
    const { type, pattern, content, prepend } = step
    if (type === 'Prepend' && prepend !== undefined) {
      if (prepend.length > LONGEST_PREFIX)
        throw refuse(
          `normalizer: prepends ${prepend.length} characters; at most ${LONGEST_PREFIX} are supported.`,
        )
      return text => prepend + text
    }
    const from = pattern?.String
    if (type !== 'Replace' || from === undefined || content === undefined)
      throw refuse(`the normaliser ${type} is not supported.`)
    if (from === '') throw refuse('normalizer: replaces the empty text.')
    growth *= Math.max(1, content.length / from.length)
    return text => text.replaceAll(from, () => content)
  })
  if (growth > MOST_GROWTH)
    throw refuse(
      `normalizer: makes a text up to ${growth} times as long; at most ${MOST_GROWTH} is supported.`,
    )
  return text => compiled.reduce((current, step) => step(current), text)
}

function flattened(
  step: NormaliserJson,
  refuse: (detail: string) => TurboPiError,
  depth = 0,
): NormaliserJson[] {
  if (step.type !== 'Sequence') return [step]
  if (depth > MOST_STEPS) throw refuse('normalizer: sequences within each other without end.')
  return (step.normalizers ?? []).flatMap(inner => flattened(inner, refuse, depth + 1))
}
