export const BLOCK_COLOURS = ['red', 'green', 'blue', 'yellow', 'purple'] as const
export const PLATE_COLOURS = ['white', 'black', 'cyan'] as const
export type BlockColour = (typeof BLOCK_COLOURS)[number]
export type PlateColour = (typeof PLATE_COLOURS)[number]

/** Pick a block up, or place it on a plate when one is named. */
export interface Task {
  block: BlockColour
  plate: PlateColour | null
}

/** All 20 tasks: five to pick, then fifteen to place. */
export const TASKS: readonly Task[] = [
  ...BLOCK_COLOURS.map(block => ({ block, plate: null })),
  ...BLOCK_COLOURS.flatMap(block => PLATE_COLOURS.map(plate => ({ block, plate }))),
]

/** The ten tasks of an evaluation: every block colour once picked and once placed. */
export const SUITE: readonly Task[] = [
  ...BLOCK_COLOURS.map(block => ({ block, plate: null })),
  { block: 'red', plate: 'white' },
  { block: 'green', plate: 'black' },
  { block: 'blue', plate: 'cyan' },
  { block: 'yellow', plate: 'black' },
  { block: 'purple', plate: 'white' },
]

/** The instruction, in LIBERO's words. */
export function promptOf(task: Task): string {
  const pick = `pick up the ${task.block} block`
  return task.plate === null ? pick : `${pick} and place it on the ${task.plate} plate`
}
