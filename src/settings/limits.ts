import { flag, integer, settings } from './kinds.js'

/** What callers may ask of the server, and cost it. */
export const LIMIT_SETTINGS = settings('Limits and queue', {
  queueLimit: integer({
    default: 64,
    min: 1,
    max: 100_000,
    meaning:
      'requests that may be prepared or wait; more are answered 503. On WS /stream the newest observation of each robot has a place besides',
  }),
  bodyLimit: integer({
    unit: 'bytes',
    default: 32 * 2 ** 20,
    min: 1024,
    max: 2 ** 31,
    meaning: 'that a request or frame may have',
  }),
  requestMemory: integer({
    unit: 'bytes',
    default: 128 * 2 ** 20,
    min: 2 ** 20,
    max: 2 ** 40,
    meaning:
      'that requests and frames may take in all while they come and are answered, and the same again for fields that observations on WS /stream carry over; whoever holds most is refused',
  }),
  requestTimeout: integer({
    unit: 'ms',
    default: 30_000,
    min: 100,
    max: 3_600_000,
    meaning: 'that a request may take to come in',
  }),
  maxConnections: integer({
    default: 1024,
    min: 1,
    max: 1_000_000,
    meaning: 'connections at a time; one more takes the place of the one that has been silent for longest',
  }),
  heartbeat: integer({
    unit: 'ms',
    default: 20_000,
    min: 100,
    max: 600_000,
    meaning: 'between pings; a WebSocket that does not answer is dropped',
  }),
  maxRobots: integer({
    default: 256,
    min: 1,
    max: 100_000,
    meaning:
      'robots that may name themselves, each with lines of its own in /metrics; and sessions on WS /stream that have a place in the queue of their own',
  }),
  robotConnections: integer({
    default: 8,
    min: 1,
    max: 100_000,
    meaning: 'WebSocket connections that one named robot may have at a time',
  }),
  clockTolerance: integer({
    unit: 'ms',
    default: 1000,
    min: 0,
    max: 600_000,
    meaning: 'that captured_at may lie in the future before it is refused',
  }),
  sendBuffer: integer({
    unit: 'bytes',
    default: 2 ** 20,
    min: 1024,
    max: 2 ** 30,
    meaning: 'that a WebSocket client may leave unread before it is dropped',
  }),
  maxImages: integer({ default: 8, min: 1, max: 64, meaning: 'images that an observation may carry' }),
  drainTimeout: integer({
    unit: 'ms',
    default: 10_000,
    min: 0,
    max: 600_000,
    meaning: 'that a stop waits for answers in flight',
  }),
  watchSessions: flag({
    meaning:
      'keep the last observation of each session and show it on the page: whoever opens the page sees the cameras',
  }),
})
