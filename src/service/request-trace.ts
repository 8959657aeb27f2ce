/** What a route knows of the time before and after the service had an observation: for those who draw traces. */
export interface RequestTrace {
  /** W3C Trace Context of the request, or of the upgrade of its connection. */
  readonly traceparent?: string | undefined
  /** Many observations came by the same request: a connection's. */
  readonly connection?: boolean
  /** When it began to be read, in performance.now() milliseconds. */
  readonly receivedAt: number
  /** Number of the chunk that answered it; set where chunks are numbered. */
  chunkId?: number
  /** When its answer was written; set where that is known. */
  sentAt?: number
}
