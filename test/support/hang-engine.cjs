// Preloaded into a server (`node --require`, which worker threads inherit): while the named pipe HANG_ENGINE is there, calls of
// ONNX Runtime wait in a native call that nothing ends but somebody who writes into it.
const { existsSync, readFileSync } = require('node:fs')
const { isMainThread } = require('node:worker_threads')

if (!isMainThread) {
  const { InferenceSession } = require('onnxruntime-node')
  const { run } = InferenceSession.prototype
  InferenceSession.prototype.run = function (...parameters) {
    if (existsSync(process.env.HANG_ENGINE)) readFileSync(process.env.HANG_ENGINE)
    return run.apply(this, parameters)
  }
}
