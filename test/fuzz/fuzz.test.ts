import t from 'tap'
import { fuzz } from './loop.js'
import { targets } from './targets.js'
import { fuzzWire, wires } from './wires.js'

const budget = { milliseconds: 3000, seed: 7, keep: false }

for (const target of targets)
  t.test(`${target.name}: the corpus, and some changed inputs, are read or refused`, async t => {
    t.same(fuzz(target, { ...budget, inputs: 60 }).faults, [])
  })

for (const wire of wires)
  t.test(`${wire.name}: every message has its answer`, async t => {
    t.same((await fuzzWire(wire, { ...budget, inputs: 100 })).faults, [])
  })
