import type { TSchema } from 'typebox'
import type { ObservationSpec } from './observation.js'
import { reportMessage } from './report.js'
import type { ActionShape } from './schemas.js'
import {
  actionsMessage,
  ClearMessage,
  ErrorMessage,
  HeartbeatMessage,
  HelloMessage,
  observationMessageSchema,
  ReadyMessage,
  ResetMessage,
  SkippedMessage,
  STREAM_PROTOCOLS,
  TimeMessage,
  TimeRequest,
  WelcomeMessage,
} from './stream-messages.js'

/** AsyncAPI 3.0 description of `WS /stream` for one policy. */
export function asyncApiDocument(spec: ObservationSpec, shape: ActionShape) {
  const json = (payload: TSchema, summary: string) => ({
    summary,
    contentType: 'application/json',
    payload,
  })
  const fromClient = {
    observation: json(
      observationMessageSchema(spec, shape, 'json'),
      'What the robot sees. Fields left out keep their last value; a newer observation replaces a waiting one.',
    ),
    observation_msgpack: {
      summary: 'The same over turbo-pi.v1+msgpack, with NumPy arrays as openpi packs them.',
      contentType: 'application/msgpack',
      payload: observationMessageSchema(spec, shape, 'msgpack'),
    },
    reset: json(ResetMessage, 'Starts over, for example with a new episode.'),
    clear: json(ClearMessage, 'Lets the robot go on that a guard has stopped.'),
    hello: json(HelloMessage, 'Names the robot and asks for answers with generations; once, after ready.'),
    report: json(reportMessage(shape), 'What the robot did, for the recording of a server that records.'),
    time_request: json(TimeRequest, 'Asks for the server’s time.'),
  }
  const fromServer = {
    ready: json(ReadyMessage, 'The first message, as soon as the engine is warm.'),
    welcome: json(WelcomeMessage, 'The answer to hello.'),
    time: json(TimeMessage, 'The server’s time, for the four stamps of NTP.'),
    heartbeat: json(HeartbeatMessage, 'The server lives; only after a hello.'),
    actions: json(
      actionsMessage(shape),
      'An action chunk. Over turbo-pi.v1+msgpack, `actions` is a float64 NumPy array.',
    ),
    skipped: json(SkippedMessage, 'No answer will come for this observation.'),
    error: json(ErrorMessage, 'An RFC 9457 problem document.'),
  }
  const messages = { ...fromClient, ...fromServer }
  const references = (names: object) =>
    Object.keys(names).map(name => ({ $ref: `#/channels/stream/messages/${name}` }))
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Turbo-Pi stream',
      version: '1',
      description: `Observations in, the freshest action chunks out, for the embodiment ${spec.embodiment}. Subprotocols: ${Object.keys(
        STREAM_PROTOCOLS,
      ).join(
        ', ',
      )}. Close codes: 1001 the server stops, 1003 wrong kind of frame, 1007 a frame that cannot be read, 1008 a hello that is refused, 1009 a frame too large, 1013 answers are not read.`,
      license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
    },
    servers: { local: { host: '127.0.0.1:8000', protocol: 'ws' } },
    channels: {
      stream: {
        address: '/stream',
        bindings: { ws: { method: 'GET' } },
        messages: Object.fromEntries(
          Object.keys(messages).map(name => [name, { $ref: `#/components/messages/${name}` }]),
        ),
      },
    },
    operations: {
      observe: {
        action: 'receive',
        channel: { $ref: '#/channels/stream' },
        messages: references(fromClient),
      },
      act: { action: 'send', channel: { $ref: '#/channels/stream' }, messages: references(fromServer) },
    },
    components: { messages },
  }
}
