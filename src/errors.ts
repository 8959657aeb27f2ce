/**
 * The one table of errors. A code is stable: clients may switch on it, docs/reference/errors.md lists it.
 * `status` is the HTTP status of the problem document; start-up errors (status 500) end the process instead.
 */
export const ERRORS = {
  BODY_MALFORMED: { status: 400, title: 'The body could not be parsed' },
  UNAUTHORIZED: { status: 401, title: 'An API key is required' },
  FORBIDDEN: { status: 403, title: 'The key may not do this' },
  HOST_FORBIDDEN: { status: 403, title: 'The server is not called by this name' },
  ORIGIN_FORBIDDEN: { status: 403, title: 'Pages of other sites may not call' },
  ROBOT_INVALID: { status: 400, title: 'The name of the robot is not valid' },
  ROBOT_HELD: { status: 409, title: 'The robot is held until it is cleared' },
  REQUEST_TIMEOUT: { status: 408, title: 'The request took too long to come in' },
  HEADERS_TOO_LARGE: { status: 431, title: 'The headers are larger than this server accepts' },
  MODEL_MISMATCH: { status: 409, title: 'Another model is served than the expected one' },
  NOT_FOUND: { status: 404, title: 'There is nothing at this address' },
  SUBPROTOCOL_UNSUPPORTED: { status: 400, title: 'The WebSocket subprotocol is not supported' },
  SWAP_REFUSED: { status: 409, title: 'The policy cannot take the place of the one being served' },
  BODY_TOO_LARGE: { status: 413, title: 'The body is larger than this server accepts' },
  CONTENT_TYPE_UNSUPPORTED: { status: 415, title: 'The content type is not supported' },
  OBSERVATION_INVALID: { status: 422, title: 'The observation does not fit this policy' },
  OPTIONS_INVALID: { status: 422, title: 'The options are out of range' },
  IMAGE_INVALID: { status: 422, title: 'An image could not be decoded' },
  IMAGE_TOO_LARGE: { status: 422, title: 'An image has more pixels than this server accepts' },
  UPGRADE_REQUIRED: { status: 426, title: 'This address speaks WebSocket' },
  RATE_LIMITED: { status: 429, title: 'The key asks for more than it may' },
  REQUEST_CANCELLED: { status: 499, title: 'The caller went away' },
  INTERNAL: { status: 500, title: 'The server failed' },
  ACTIONS_NOT_FINITE: { status: 500, title: 'The policy produced actions that are not finite' },
  ACTIONS_OUT_OF_BOUNDS: { status: 500, title: 'The policy produced actions outside its bounds' },
  RUNTIME_FAILED: { status: 500, title: 'The inference runtime failed' },
  TOO_MANY_CONNECTIONS: { status: 503, title: 'The robot has as many connections as it may' },
  TOO_MANY_ROBOTS: { status: 503, title: 'The server knows as many robots as it may' },
  OVERLOADED: { status: 503, title: 'The queue is full' },
  OUT_OF_MEMORY: { status: 503, title: 'The engine has no memory for the batch' },
  SHUTTING_DOWN: { status: 503, title: 'The server is shutting down' },
  ENGINE_HUNG: { status: 503, title: 'The engine does not come back from a call' },
  NOT_READY: { status: 503, title: 'The server is not ready' },
  DEADLINE_EXCEEDED: { status: 504, title: 'The deadline passed before an answer was ready' },

  CONFIG_INVALID: { status: 500, title: 'A setting is not valid' },
  LISTEN_FAILED: { status: 500, title: 'The address cannot be listened on' },
  SERVER_UNREACHABLE: { status: 500, title: 'The server cannot be reached' },
  POLICY_INVALID: { status: 500, title: 'The policy directory is not valid' },
  CHECKPOINT_INVALID: { status: 500, title: 'The checkpoint is not valid' },
  NORM_STATS_INVALID: { status: 500, title: 'The normalisation statistics are not valid' },
  TOKENIZER_INVALID: { status: 500, title: 'The tokenizer is not valid' },
  DOWNLOAD_FAILED: { status: 500, title: 'The download failed' },
  RECORDING_INVALID: { status: 500, title: 'The recording cannot be used' },
  CACHE_FAILED: { status: 500, title: 'The model cache could not be written' },
  RUNTIME_UNAVAILABLE: { status: 500, title: 'The requested runtime is not available' },
} as const satisfies Record<string, { status: number; title: string }>

export type ErrorCode = keyof typeof ERRORS

/** One place in a request that is wrong: an RFC 6901 JSON pointer and what was expected there. */
export interface FieldError {
  pointer: string
  detail: string
}

/**
 * An error that a user can act on. `detail` names the field or file, what was expected, what came and what to do.
 */
export class TurboPiError extends Error {
  readonly code: ErrorCode
  readonly status: number
  readonly title: string
  readonly fields: readonly FieldError[]
  /** Seconds after which to try again, for OVERLOADED and RATE_LIMITED. */
  readonly retryAfter: number | undefined

  constructor(
    code: ErrorCode,
    detail: string,
    options: { fields?: readonly FieldError[]; cause?: unknown; retryAfter?: number } = {},
  ) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'TurboPiError'
    this.code = code
    this.status = ERRORS[code].status
    this.title = ERRORS[code].title
    this.fields = options.fields ?? []
    this.retryAfter = options.retryAfter
  }
}

/** Text of anything thrown, for a message that must not carry a stack. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
