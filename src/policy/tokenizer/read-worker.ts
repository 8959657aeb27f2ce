import { answerCall } from '../../worker-call.js'
import { readTokenizer } from './read.js'

answerCall(readTokenizer)
