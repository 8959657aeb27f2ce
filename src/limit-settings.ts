import { integer } from './setting.js'

/** What callers may ask of the server, and cost it. */
export const LIMIT_SETTINGS = {
  bodyLimit: integer(
    'TURBO_PI_BODY_LIMIT',
    32 * 2 ** 20,
    1024,
    2 ** 31,
    'bytes that a request or frame may have',
  ),
  requestMemory: integer(
    'TURBO_PI_REQUEST_MEMORY',
    128 * 2 ** 20,
    2 ** 20,
    2 ** 40,
    'bytes that requests and frames may take in all while they come and are answered, and the same again for fields that observations on WS /stream carry over; whoever holds most is refused',
  ),
  requestTimeout: integer(
    'TURBO_PI_REQUEST_TIMEOUT',
    30_000,
    100,
    3_600_000,
    'milliseconds that a request may take to come in',
  ),
  maxConnections: integer(
    'TURBO_PI_MAX_CONNECTIONS',
    1024,
    1,
    1_000_000,
    'connections at a time; one more takes the place of the one that has been silent for longest',
  ),
  heartbeat: integer(
    'TURBO_PI_HEARTBEAT',
    20_000,
    100,
    600_000,
    'milliseconds between pings; a WebSocket that does not answer is dropped',
  ),
  maxRobots: integer(
    'TURBO_PI_MAX_ROBOTS',
    256,
    1,
    100_000,
    'robots that may name themselves; each has lines of its own in /metrics',
  ),
  robotConnections: integer(
    'TURBO_PI_ROBOT_CONNECTIONS',
    8,
    1,
    100_000,
    'WebSocket connections that one named robot may have at a time',
  ),
  clockTolerance: integer(
    'TURBO_PI_CLOCK_TOLERANCE',
    1000,
    0,
    600_000,
    'milliseconds that captured_at may lie in the future before it is refused',
  ),
  sendBuffer: integer(
    'TURBO_PI_SEND_BUFFER',
    2 ** 20,
    1024,
    2 ** 30,
    'bytes that a WebSocket client may leave unread before it is dropped',
  ),
  maxImagePixels: integer(
    'TURBO_PI_MAX_IMAGE_PIXELS',
    2 ** 22,
    1,
    2 ** 30,
    'pixels that an image may have, checked before decoding; cameras of 2560 × 1440 have fewer',
  ),
  maxImages: integer('TURBO_PI_MAX_IMAGES', 8, 1, 64, 'images that an observation may carry'),
} as const
