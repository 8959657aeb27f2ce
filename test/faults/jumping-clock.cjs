// Preloaded into a server: with every SIGWINCH its clock shows another time, an hour later or earlier, or two years.
const { isMainThread } = require('node:worker_threads')

if (isMainThread) {
  const { now } = Date
  const HOUR = 3_600_000
  const offsets = [HOUR, -HOUR, 2 * 365 * 24 * HOUR, 0]
  let offset = 0
  Date.now = () => now() + offset
  process.on('SIGWINCH', () => {
    offset = offsets.shift() ?? 0
  })
}
