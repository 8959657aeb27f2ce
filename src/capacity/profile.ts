import { readFileSync } from 'node:fs'
import { type Static, Type } from 'typebox'
import { compileCheck } from '../contract/validate.js'
import { reasonOf, TurboPiError } from '../errors.js'
import { quantile, TimesSchema } from './times.js'

/** How long calls of the engine take, by the rows of their batch. */
export const BatchTimesSchema = Type.Object({
  rows: Type.Integer({ minimum: 1 }),
  vision: TimesSchema,
  /** With what a call takes beside the network. */
  prefix: TimesSchema,
  /** All steps. */
  denoise: TimesSchema,
})
export type BatchTimes = Static<typeof BatchTimesSchema>

/** Measured service times of a policy on a machine: what `turbo-pi bench --batches --json` writes. */
export const ProfileSchema = Type.Object({
  policy: Type.String(),
  backend: Type.String(),
  precision: Type.String(),
  device: Type.String(),
  machine: Type.String(),
  /** Processor cores. */
  cores: Type.Integer({ minimum: 1 }),
  lanes: Type.Union([Type.Literal(1), Type.Literal(2)]),
  /** Prefixes that the engine holds at once; default 2. */
  prefixSlots: Type.Optional(Type.Integer({ minimum: 1 })),
  /** Whether it denoises several of them in one call; default: it does not. */
  joins: Type.Optional(Type.Boolean()),
  /** Denoise steps of the batches. */
  steps: Type.Integer({ minimum: 1 }),
  /** Decoding and preparing one observation. */
  prepare: TimesSchema,
  batches: Type.Array(BatchTimesSchema, { minItems: 1 }),
  /** The rest of the server, which bench does not measure; without it, it takes no time. */
  wire: Type.Optional(
    Type.Object({
      /** Milliseconds of the server's thread for one observation. */
      threadMs: Type.Number({ minimum: 0 }),
      /** From capture to arrival at an idle server on the same machine, less `prepare` and the engine. */
      latency: TimesSchema,
    }),
  ),
})
export type Profile = Static<typeof ProfileSchema>

const check = compileCheck(ProfileSchema, 'CONFIG_INVALID')

/** Reads a profile. Throws CONFIG_INVALID that names the file and the field. */
export function readProfile(file: string): Profile {
  try {
    const profile: unknown = JSON.parse(readFileSync(file, 'utf8'))
    check(profile)
    requireAscending(profile as Profile)
    return profile as Profile
  } catch (error) {
    throw new TurboPiError(
      'CONFIG_INVALID',
      `${file} is no profile: ${reasonOf(error)}. turbo-pi bench --batches --json prints one.`,
    )
  }
}

function requireAscending(profile: Profile): void {
  for (const [name, times] of timesIn(profile))
    for (const [at, [percent, ms]] of times.entries())
      if (at > 0 && (percent <= times[at - 1]![0] || ms < times[at - 1]![1]))
        throw new Error(`${name}/${at} must be above the one before it`)
  for (const [at, { rows }] of profile.batches.entries())
    if (at > 0 && rows <= profile.batches[at - 1]!.rows)
      throw new Error(`/batches/${at}/rows must be above those of the batch before it`)
}

const timesIn = ({ prepare, batches, wire }: Profile) => [
  ['/prepare', prepare] as const,
  ...batches.flatMap(({ vision, prefix, denoise }, at) => [
    [`/batches/${at}/vision`, vision] as const,
    [`/batches/${at}/prefix`, prefix] as const,
    [`/batches/${at}/denoise`, denoise] as const,
  ]),
  ...(wire ? [['/wire/latency', wire.latency] as const] : []),
]

/** Milliseconds of a stage for a batch of so many rows, at a share 0…1 of its distribution; between measured rows along a line. */
export function stageMs(
  { batches }: Profile,
  stage: 'vision' | 'prefix' | 'denoise',
  rows: number,
  share: number,
): number {
  const at = (batch: BatchTimes) => quantile(batch[stage], share)
  const above = batches.findIndex(batch => batch.rows >= rows)
  if (above < 0)
    throw new RangeError(`a batch of ${rows} rows was not measured: ${batches.at(-1)!.rows} are most`)
  const next = batches[above]!
  const before = batches[above - 1]
  if (!before || next.rows === rows) return at(next)
  return at(before) + ((at(next) - at(before)) * (rows - before.rows)) / (next.rows - before.rows)
}
