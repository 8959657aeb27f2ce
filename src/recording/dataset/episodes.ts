import type { PolicyNote } from '../handover.js'
import { readRecording } from '../read.js'
import type { RecordedObservation } from '../recorded.js'

/** An observation, and the action that followed it. */
export interface Frame {
  recorded: RecordedObservation
  action: readonly number[]
  /** Whether the robot reported the action; else it is the first one of the chunk. */
  reported: boolean
  /** Somebody had taken over. */
  intervention: boolean
}

export interface Episode {
  robot: string | null
  task: string
  frames: Frame[]
  /** As it was marked. */
  success: boolean | null
}

export interface EpisodeOptions {
  /** Of this robot alone. */
  robot?: string | undefined
  /** Milliseconds without an observation after which another episode begins. */
  gapMs: number
}

const MILLISECOND = 1_000_000n

/** What one session has told since its last episode. */
class Session {
  observations: RecordedObservation[] = []
  executed: { time: bigint; action: readonly number[] }[] = []
  interventions: { time: bigint; begins: boolean }[] = []

  get last(): RecordedObservation | undefined {
    return this.observations.at(-1)
  }

  /** Its episode ends; undefined when there is none. */
  end(success: boolean | null): Episode | undefined {
    const { observations, executed, interventions } = this
    this.observations = []
    this.executed = []
    this.interventions = interventions.slice(-1)
    const [first] = observations
    if (!first) return undefined
    let next = 0
    const frames = observations.map((recorded, at): Frame => {
      const until = observations[at + 1]?.time
      while (next < executed.length && executed[next]!.time < recorded.time) next += 1
      const found = executed[next]
      const reported = found !== undefined && (until === undefined || found.time < until)
      const turn = interventions.filter(({ time }) => time <= recorded.time).at(-1)
      const action = reported ? found.action : recorded.actions[0]!
      return { recorded, action, reported, intervention: turn?.begins ?? false }
    })
    return { robot: first.robot, task: first.observation.prompt ?? '', frames, success }
  }
}

/**
 * The episodes of recordings, each of one session and one prompt: they end at a reset, a mark of success or failure, another
 * prompt, a pause, and with the last file.
 */
export async function* episodesOf(
  files: readonly string[],
  { robot, gapMs }: EpisodeOptions,
  onPolicy: (note: PolicyNote) => void,
): AsyncGenerator<Episode> {
  const sessions = new Map<string, Session>()
  const of = (name: string) => {
    const known = sessions.get(name) ?? new Session()
    sessions.set(name, known)
    return known
  }
  for (const file of files)
    for await (const told of readRecording(file)) {
      if (told.kind === 'policy') onPolicy(told.note)
      if (!('session' in told) || (robot !== undefined && told.robot !== robot)) continue
      const session = of(told.session)
      let episode: Episode | undefined
      if (told.kind === 'executed') session.executed.push(told)
      else if (told.kind === 'reset') episode = session.end(null)
      else if (told.kind === 'mark') {
        const { mark, time } = told
        if (mark === 'success' || mark === 'failure') episode = session.end(mark === 'success')
        else if (mark === 'episode_start') episode = session.end(null)
        else if (mark !== 'note') session.interventions.push({ time, begins: mark === 'intervention_start' })
      } else if (told.kind === 'observation') {
        const { last } = session
        if (last && (told.time - last.time > BigInt(gapMs) * MILLISECOND || isOtherTask(last, told)))
          episode = session.end(null)
        session.observations.push(told)
      }
      if (episode) yield episode
    }
  for (const session of sessions.values()) {
    const episode = session.end(null)
    if (episode) yield episode
  }
}

const isOtherTask = (one: RecordedObservation, other: RecordedObservation) =>
  one.observation.prompt !== other.observation.prompt
