import { Session } from 'node:inspector'

interface Coverage {
  result: {
    url: string
    scriptId: string
    functions: { ranges: { startOffset: number; endOffset: number; count: number }[] }[]
  }[]
}

/** Which blocks of this project's code have run, as V8 counts them itself. */
export class CoverageGuide {
  readonly #session = new Session()

  constructor() {
    this.#session.connect()
    this.#post('Profiler.enable')
    this.#post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  }

  /** The blocks that have run since the last call. */
  ran(): string[] {
    const blocks: string[] = []
    for (const { url, scriptId, functions } of this.#post<Coverage>('Profiler.takePreciseCoverage').result) {
      if (!url.includes('/src/')) continue
      for (const { ranges } of functions)
        for (const { startOffset, endOffset, count } of ranges)
          if (count > 0) blocks.push(`${scriptId}:${startOffset}:${endOffset}`)
    }
    return blocks
  }

  close(): void {
    this.#session.disconnect()
  }

  /** The inspector of one's own thread answers before it returns. */
  #post<T>(method: string, parameters: object = {}): T {
    let answer: unknown
    this.#session.post(method, parameters, (error, result) => {
      if (error) throw error
      answer = result
    })
    return answer as T
  }
}
