/** How much structure one message may have, over any wire. */
export interface MessageLimits {
  /** Nesting of arrays and maps. */
  maxDepth: number
  /** Values in one message, all levels together; binary data and text count as one. */
  maxValues: number
}

/** The longest noise and previous chunk take some 60,000 numbers. */
export const MESSAGE_LIMITS: MessageLimits = { maxDepth: 32, maxValues: 100_000 }

/** Letters of a caller's own text that a message repeats. */
export const SHOWN = 48

/** A caller's text as a message repeats it: a refusal is never longer than what it says. */
export const shown = (text: string): string => (text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}…`)

/** The first few names of many. */
export function shownNames(names: readonly string[], most = 8): string {
  const first = names.slice(0, most).map(shown).join(', ')
  return names.length > most ? `${first} and ${names.length - most} more` : first
}
