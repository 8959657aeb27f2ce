// Preloaded into a server (`node --require`, which worker threads inherit). Files of the folder FAULTY_ENGINE say what happens
// to calls of ONNX Runtime: `hang`, a named pipe, lets them wait in a native call that nothing ends but somebody who writes into
// it (the file `hangs` is then there); `hang-once` lets one of them wait so, and is then called `hanging`; `throw` and `die`, once,
// fail the call and end the thread.
const { existsSync, readFileSync, renameSync, rmSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')
const { isMainThread } = require('node:worker_threads')

const folder = process.env.FAULTY_ENGINE
const once = name => {
  const there = existsSync(join(folder, name))
  if (there) rmSync(join(folder, name), { force: true })
  return there
}

if (folder && !isMainThread) {
  const { InferenceSession } = require('onnxruntime-node')
  const { run } = InferenceSession.prototype
  InferenceSession.prototype.run = function (...parameters) {
    if (existsSync(join(folder, 'hang'))) {
      writeFileSync(join(folder, 'hangs'), '')
      readFileSync(join(folder, 'hang'))
    }
    if (existsSync(join(folder, 'hang-once'))) {
      renameSync(join(folder, 'hang-once'), join(folder, 'hanging'))
      readFileSync(join(folder, 'hanging'))
    }
    if (once('die')) process.exit(3)
    if (once('throw')) throw new Error('the engine was told to fail')
    return run.apply(this, parameters)
  }
}
