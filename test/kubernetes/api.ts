import { readFileSync } from 'node:fs'
import { request } from 'node:https'
import type { Manifest } from '../support/kubernetes.js'

export interface Answer {
  status: number
  body: Manifest
}

/** The API server, spoken to as its administrator. */
export class Api {
  readonly #port: number
  readonly #token: string
  readonly #certificate: string

  constructor(port: number, token: string, certificate: string) {
    this.#port = port
    this.#token = token
    this.#certificate = certificate
  }

  get = (path: string) => this.send('GET', path)

  /** Creates an object; throws with the server's words when it refuses. */
  async create(path: string, object: Manifest): Promise<Manifest> {
    const { status, body } = await this.send('POST', `${path}?fieldValidation=Strict`, object)
    if (status >= 300) throw new Error(`${object.kind} ${object.metadata?.name}: ${status} ${body.message}`)
    return body
  }

  merge = (path: string, change: object) => this.send('PATCH', path, change, 'application/merge-patch+json')

  send(method: string, path: string, body?: object, type = 'application/json'): Promise<Answer> {
    const headers = { authorization: `Bearer ${this.#token}`, ...(body && { 'content-type': type }) }
    const options = { host: '127.0.0.1', port: this.#port, method, path, headers }
    return new Promise((resolve, reject) => {
      const asked = request({ ...options, ca: readFileSync(this.#certificate) }, response => {
        const chunks: Buffer[] = []
        response.on('data', chunk => chunks.push(chunk))
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          const json = response.headers['content-type']?.includes('json')
          resolve({ status: response.statusCode!, body: json ? JSON.parse(text) : text })
        })
      })
      asked.on('error', reject)
      asked.end(body && JSON.stringify(body))
    })
  }
}
