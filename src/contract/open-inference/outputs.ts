import { TurboPiError } from '../../errors.js'
import { type InferenceAnswer, reportReply } from '../answer.js'
import { shown } from '../limits.js'
import { pointerTo } from '../validate.js'
import type { OutputTensor } from './request.js'
import { ACTIONS, REPORT } from './signature.js'

type Make = (answers: readonly InferenceAnswer[]) => OutputTensor

const OUTPUTS: Readonly<Record<string, Make>> = { [ACTIONS]: actions, [REPORT]: report }

/** That the outputs of these names can be given. Throws OPTIONS_INVALID. */
export function requireOutputs(names: readonly string[]): void {
  for (const [i, name] of names.entries()) {
    const twice = names.indexOf(name) !== i
    if (Object.hasOwn(OUTPUTS, name) && !twice) continue
    const detail = twice
      ? 'is asked for twice'
      : `is no output (there are ${Object.keys(OUTPUTS).join(', ')})`
    throw new TurboPiError('OPTIONS_INVALID', `The output ${shown(name)} ${detail}.`, {
      fields: [{ pointer: pointerTo('outputs', shown(name)), detail }],
    })
  }
}

/** The tensors of these names, in their order; all where there are none. */
export const outputsOf = (answers: readonly InferenceAnswer[], names: readonly string[]): OutputTensor[] =>
  (names.length > 0 ? names : Object.keys(OUTPUTS)).map(name => OUTPUTS[name]!(answers))

/** FP32 [observations, horizon, action size]. */
function actions(answers: readonly InferenceAnswer[]): OutputTensor {
  const { horizon, actionSize } = answers[0]!
  const numbers = new Float32Array(answers.length * horizon * actionSize)
  for (const [i, answer] of answers.entries()) numbers.set(answer.actions, i * horizon * actionSize)
  return {
    name: ACTIONS,
    datatype: 'FP32',
    shape: [answers.length, horizon, actionSize],
    bytes: new Uint8Array(numbers.buffer),
    values: () => [...numbers],
  }
}

function report(answers: readonly InferenceAnswer[]): OutputTensor {
  const texts = answers.map(answer => JSON.stringify(reportReply(answer)))
  return {
    name: REPORT,
    datatype: 'BYTES',
    shape: [answers.length],
    bytes: Buffer.concat(
      texts.flatMap(text => {
        const length = Buffer.alloc(4)
        length.writeUInt32LE(Buffer.byteLength(text))
        return [length, Buffer.from(text)]
      }),
    ),
    values: () => texts,
  }
}
