import { CAMERAS } from '../recording/cameras.js'
import { choice, directory, flag, integer, settings } from './kinds.js'

/** The flight recorder (docs/guides/recording.md). */
export const RECORD_SETTINGS = settings('Recordings', {
  record: directory({
    meaning: 'where observations, cameras included, and answers are recorded; nothing is recorded without it',
  }),
  recordOnRequest: flag({
    meaning: 'record nothing until POST /recordings/start, in place of all from the start',
  }),
  recordCameras: choice({
    default: 'exact',
    choices: CAMERAS,
    meaning:
      'how cameras are recorded: as they came; files as they came and arrays as JPEG, smaller and not replayed exactly; or not at all',
  }),
  recordFileSize: integer({
    default: 1024,
    min: 1,
    max: 1_000_000,
    unit: 'MB',
    meaning: 'size at which the next file is begun',
  }),
  recordFileMinutes: integer({
    default: 10,
    min: 1,
    max: 100_000,
    unit: 'minutes',
    meaning: 'time after which the next file is begun',
  }),
  recordMinFree: integer({
    default: 2048,
    min: 0,
    max: 100_000_000,
    unit: 'MB',
    meaning: 'space that stays free on the disk: the recording stands still where there is less',
  }),
})
