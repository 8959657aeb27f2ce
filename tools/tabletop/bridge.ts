/**
 * Steps many episodes for a trainer in another language: `tsx tools/tabletop/bridge.ts --episodes N --seed N`.
 * Episode i is task i mod 10 of the suite with seed `--seed` + i. Writes to stdout, for every episode, one observation:
 * f64 steps, done (0/1), success (0/1), state 8, then u8 base and wrist [56, 56, 3]. Reads from stdin, for every
 * episode, `--execute` actions of 7 f64, carries them out (a finished episode stands still), and writes again, until
 * stdin ends. Numbers are little-endian.
 */
import { parseArgs } from 'node:util'
import { DRAWN_SIZE, drawBase, drawWrist } from '../../src/tabletop/drawing.js'
import { Episode } from '../../src/tabletop/episode.js'
import { ACTION_SIZE, stateOf } from '../../src/tabletop/scene.js'
import { SUITE } from '../../src/tabletop/tasks.js'

const { values } = parseArgs({
  options: {
    episodes: { type: 'string', default: '200' },
    execute: { type: 'string', default: '5' },
    seed: { type: 'string', default: '0' },
  },
})
const execute = Number(values.execute)
const episodes = Array.from(
  { length: Number(values.episodes) },
  (_, index) => new Episode(Number(values.seed) + index, SUITE[index % SUITE.length]!),
)

const HEAD = 11
const IMAGE_BYTES = DRAWN_SIZE * DRAWN_SIZE * 3
const ACTIONS_BYTES = execute * ACTION_SIZE * 8

let received = Buffer.alloc(0)
sendAll()
for await (const chunk of process.stdin) {
  received = Buffer.concat([received, chunk as Buffer])
  if (received.length < episodes.length * ACTIONS_BYTES) continue
  for (const [index, episode] of episodes.entries())
    carryOut(episode, received.subarray(index * ACTIONS_BYTES, (index + 1) * ACTIONS_BYTES))
  received = Buffer.alloc(0)
  sendAll()
}

function sendAll(): void {
  for (const episode of episodes) {
    const outgoing = Buffer.alloc(HEAD * 8 + 2 * IMAGE_BYTES)
    const numbers = [episode.steps, Number(episode.done), Number(episode.success), ...stateOf(episode.scene)]
    for (const [index, value] of numbers.entries()) outgoing.writeDoubleLE(value, index * 8)
    const noise = episode.pixelNoise()
    outgoing.set(drawBase(episode.scene, noise), HEAD * 8)
    outgoing.set(drawWrist(episode.scene, noise), HEAD * 8 + IMAGE_BYTES)
    process.stdout.write(outgoing)
  }
}

function carryOut(episode: Episode, actions: Buffer): void {
  for (let step = 0; step < execute && !episode.done; step++) {
    const start = step * ACTION_SIZE * 8
    episode.step(Array.from({ length: ACTION_SIZE }, (_, index) => actions.readDoubleLE(start + index * 8)))
  }
}
