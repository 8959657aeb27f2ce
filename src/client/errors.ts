import type { ProblemDocument } from '../contract/problem.js'
import type { SkipReason } from '../contract/stream-messages.js'

/** What a client rejects with. `code` is stable and tells the kinds apart where classes cannot: across two copies of the package. */
export class ClientError extends Error {
  constructor(
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
    this.name = new.target.name
  }
}

/** A problem document of the server, as it came: its code may be one that this client has never heard of. */
export class RemoteError extends ClientError {
  readonly status: number
  readonly title: string
  /** The wrong places of the message, as RFC 6901 pointers. */
  readonly fields: ProblemDocument['errors']

  constructor({ code, detail, status, title, errors }: ProblemDocument) {
    super(code, detail)
    this.status = status
    this.title = title
    this.fields = errors
  }
}

/** The deadline of a call has passed: on the server, which says so, or here, when the server says nothing. */
export class DeadlineError extends ClientError {
  constructor(message: string) {
    super('DEADLINE_EXCEEDED', message)
  }
}

/** No answer comes: a newer observation took its place (SUPERSEDED), or a reset did (RESET). */
export class SkippedError extends ClientError {
  constructor(reason: SkipReason) {
    super(reason.toUpperCase(), `The observation was skipped: ${reason}.`)
  }
}

/** The model that is served is not the one that was demanded (MODEL_MISMATCH). */
export class ModelMismatchError extends ClientError {
  constructor(expected: string, served: string) {
    super('MODEL_MISMATCH', `The server serves the model ${served}, expected ${expected}.`)
  }
}

/**
 * The connection was lost (CONNECTION_LOST), refused (CONNECTION_REFUSED), ended for a frame that cannot be read
 * (FRAME_UNREADABLE), or closed by this side (CONNECTION_CLOSED).
 */
export class ConnectionError extends ClientError {}
