/*
 * Loaded into a server before anything else: once the file $BREAK_CARD is there, the context of the card whose number it holds is
 * destroyed, and with it whatever its session has there. Sessions have the hook for that where TURBO_PI_TEST_HOOKS is 1 while the addon
 * is loaded, which is no setting of the server.
 */
const { existsSync, readFileSync } = require('node:fs')
const { join } = require('node:path')
const { isMainThread } = require('node:worker_threads')

process.env.TURBO_PI_TEST_HOOKS = '1'
const addon = require(
  process.env.TURBO_PI_NATIVE || join(__dirname, '../../native/build/Release/turbo_pi.node'),
)
delete process.env.TURBO_PI_TEST_HOOKS
const file = process.env.BREAK_CARD

/** The last session that was opened on each card. */
const sessions = new Map()
const { openSession } = addon
addon.openSession = async options => {
  const session = await openSession(options)
  sessions.set(options.device, session)
  return session
}

const looking = setInterval(async () => {
  if (!existsSync(file) || !isMainThread) return
  clearInterval(looking)
  const card = Number(readFileSync(file, 'utf8'))
  try {
    if (!sessions.has(card)) throw new Error('no session was opened on it')
    await sessions.get(card).destroyContext().promise
    console.error(`card ${card} was broken`)
  } catch (error) {
    console.error(`card ${card} could not be broken: ${error.message}`)
  }
}, 20)
looking.unref()
