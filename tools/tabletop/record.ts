/**
 * Writes training data: `tsx tools/tabletop/record.ts --out DIR [--observations N] [--processes N] [--seed N]`.
 * DIR gets records.bin and records.json, which says what stands in it.
 */
import { fork } from 'node:child_process'
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { expertAction } from '../../src/tabletop/expert.js'
import { Random } from '../../src/tabletop/random.js'
import { applyAction, isSolved, randomScene } from '../../src/tabletop/scene.js'
import { BLOCK_COLOURS, PLATE_COLOURS, TASKS, type Task } from '../../src/tabletop/tasks.js'
import { describeRecords, RECORD_BYTES, writeRecord } from './records.js'
import { Disturbance, recoveryScene } from './starts.js'

/** Streams of the seed from here on belong to the recorder, so that no evaluation shares a table with it. */
const FIRST_STREAM = 0x10000
const KEPT_STEPS = 0.3
const STEPS_AFTER_SUCCESS = 6
const LONGEST_EPISODE = 70
const BATCH = 256

const { values } = parseArgs({
  options: {
    out: { type: 'string' },
    observations: { type: 'string', default: '220000' },
    processes: { type: 'string', default: '2' },
    seed: { type: 'string', default: '1' },
    part: { type: 'string' },
  },
})
if (!values.out) throw new Error('--out DIR is missing: name the folder that takes the records')
const [out, observations, processes, seed] = [
  values.out,
  Number(values.observations),
  Number(values.processes),
  Number(values.seed),
]
const share = Math.ceil(observations / processes)
const file = join(values.out, 'records.bin')

if (values.part === undefined) await recordAll()
else recordPart(Number(values.part))

async function recordAll(): Promise<void> {
  mkdirSync(out, { recursive: true })
  writeFileSync(file, '')
  const started = performance.now()
  const parts = Array.from({ length: processes }, (_, part) => part)
  await Promise.all(
    parts.map(
      part =>
        new Promise<void>((resolve, reject) => {
          const child = fork(fileURLToPath(import.meta.url), [...process.argv.slice(2), '--part', `${part}`])
          child.once('exit', code =>
            code === 0 ? resolve() : reject(new Error(`recording part ${part} ended with code ${code}`)),
          )
        }),
    ),
  )
  writeFileSync(join(out, 'records.json'), JSON.stringify(describeRecords()))
  const seconds = (performance.now() - started) / 1000
  console.log(`${share * processes} observations in ${seconds.toFixed(0)} s`)
}

/** Fills the records from part × share on; the processes write into one file. */
function recordPart(part: number): void {
  const random = new Random(seed, FIRST_STREAM + part)
  const descriptor = openSync(file, 'r+')
  const buffer = Buffer.alloc(BATCH * RECORD_BYTES)
  let waiting = 0
  let written = 0
  const flush = () => {
    const first = part * share + written - waiting
    writeSync(descriptor, buffer, 0, waiting * RECORD_BYTES, first * RECORD_BYTES)
    waiting = 0
  }
  while (written < share) {
    const task = randomTask(random)
    const scene = random.uniform() < 0.5 ? recoveryScene(random, task) : randomScene(random, task)
    const disturbance = new Disturbance(random)
    let left = STEPS_AFTER_SUCCESS
    for (let step = 0; step < LONGEST_EPISODE && left > 0 && written < share; step++) {
      if (isSolved(scene, task)) left -= 1
      if (random.uniform() < KEPT_STEPS) {
        const start = waiting * RECORD_BYTES
        writeRecord(buffer.subarray(start, start + RECORD_BYTES), scene, task, random)
        waiting += 1
        written += 1
        if (waiting === BATCH) flush()
      }
      applyAction(scene, disturbance.apply(expertAction(scene, task)))
    }
  }
  flush()
  closeSync(descriptor)
}

/** 60 % place tasks, since they take longer and can go wrong in more ways. */
function randomTask(random: Random): Task {
  const block = random.pick(BLOCK_COLOURS)
  const plate = random.uniform() < 0.6 ? random.pick(PLATE_COLOURS) : null
  return TASKS.find(task => task.block === block && task.plate === plate)!
}
