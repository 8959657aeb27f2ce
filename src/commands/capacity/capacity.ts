import { type Demand, plan } from '../../capacity/fleet.js'
import { readProfile } from '../../capacity/profile.js'
import type { Delay } from '../../capacity/times.js'
import { usage } from '../../settings/arguments.js'
import { file, flag, integer, number, positive, text } from '../../settings/kinds.js'
import { type Call, command as define } from '../kit/command.js'
import { interruptible } from '../kit/interruption.js'
import { described } from './report.js'

/** Throws an Error that says what it takes. */
function delayOf(value: string): Delay {
  const [p50, p99, ...rest] = value.split(',').map(part => (part.trim() === '' ? Number.NaN : Number(part)))
  const valid = rest.length === 0 && p50! >= 0 && p99! >= p50! && p99! < 60_000 && (p50! > 0 || p99 === 0)
  if (!valid) throw new Error('two numbers of milliseconds such as 2,10, the second not below the first')
  return { p50: p50!, p99: p99! }
}

const OPTIONS = {
  profile: file({ meaning: 'service times, as bench --batches --json prints them; must be given' }),
  robots: integer({ default: 10, min: 1, max: 100_000, meaning: 'robots to serve' }),
  hz: number({ default: 5, min: 0.01, max: 1000, meaning: 'observations a second of each robot' }),
  ageP99: number({
    default: 200,
    min: 1,
    max: 600_000,
    unit: 'ms',
    meaning:
      'that 99 % of the answers are at most old when they arrive, counted from the capture of what they answer',
  }),
  answered: number({
    default: 99,
    min: 0,
    max: 100,
    unit: '%',
    meaning: 'of the observations that have to be answered, not replaced by newer ones',
  }),
  network: text({
    default: '2,10',
    takes: 'P50,P99',
    meaning:
      'delay of the network each way, in ms: half of the time at most the first, 99 % at most the second',
    parse: value => {
      delayOf(value)
      return value
    },
  }),
  deadline: positive({
    meaning: 'ms after the capture at which an observation expires; robots give none by default',
  }),
  reconnect: number({
    default: 250,
    min: 0,
    max: 600_000,
    unit: 'ms',
    meaning: 'from the loss of a node until its robots are connected to others, give or take 20 %',
  }),
  queueLimit: integer({ default: 256, min: 1, max: 100_000, meaning: "places of a server's queue" }),
  seconds: number({ default: 20, min: 5, max: 3600, meaning: 'of simulated time, after 2 s that warm up' }),
  sample: integer({
    default: 4,
    min: 1,
    max: 1000,
    meaning: 'replicas that are simulated, of as many as there are',
  }),
  seed: integer({ default: 0, min: 0, max: 2 ** 31 - 1, meaning: 'of all random numbers' }),
  json: flag({ meaning: 'print JSON' }),
}

export const command = define(
  {
    name: 'capacity',
    forms: ['--profile FILE --robots N --hz N --age-p99 MS [options]'],
    about: `
Tells how many replicas, each one server with one engine, robots need so that their answers are fresh, and what the loss of one
replica costs. A simulation: the queue, the batches and the sharing are the server's own code, on a clock that jumps from event
to event; the engine takes the times of the profile, measured by turbo-pi bench --batches --json on the machine in question.

Robots are spread over the replicas evenly, stay with theirs, and send as on WS /stream, where a newer observation takes the
place of one that waits. The same seed gives the same figures. Exits 1 when no number of replicas is enough.`,
    options: OPTIONS,
    settings: {},
  },
  capacity,
)

async function capacity({ own }: Call<typeof OPTIONS>): Promise<number> {
  if (own.profile === undefined) throw usage('capacity', 'capacity needs --profile FILE.')
  const profile = readProfile(own.profile)
  const demand: Demand = {
    robots: own.robots,
    hertz: own.hz,
    ageP99Ms: own.ageP99,
    leastAnswered: own.answered / 100,
    delay: delayOf(own.network),
    deadlineMs: own.deadline,
    reconnectMs: own.reconnect,
    places: own.queueLimit,
    seconds: own.seconds,
    sample: own.sample,
    seed: own.seed,
    phases: 'random',
  }
  const found = await interruptible(signal => plan(profile, { ...demand, signal }))
  console.log(own.json ? JSON.stringify({ ...demand, ...found }) : described(profile, demand, found))
  return found.replicas === null ? 1 : 0
}
