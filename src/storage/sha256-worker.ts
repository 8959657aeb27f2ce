import { answerCall } from '../worker-call.js'
import { sha256OfFile } from './piece.js'

answerCall((paths: readonly string[]) => new Map(paths.map(path => [path, sha256OfFile(path)])))
