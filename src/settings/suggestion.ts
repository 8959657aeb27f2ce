import { closestMatch } from 'leven'

/** `; did you mean --port?`, or nothing where no candidate is near. */
export function didYouMean(given: string, candidates: Iterable<string>): string {
  const maxDistance = Math.max(2, Math.floor(given.length / 3))
  const nearest = closestMatch(given, [...candidates], { maxDistance })
  return nearest === undefined ? '' : `; did you mean ${nearest}?`
}

/** Ends a sentence that a suggestion may have ended already. */
export const ended = (sentence: string) => (/[.?!]$/.test(sentence) ? sentence : `${sentence}.`)
