/*
 * Loaded into a server before anything else: once the file $BREAK_CARD is there, the card whose number it holds fails for good, as after
 * an Xid. The addon has the hook for that where TURBO_PI_TEST_HOOKS is 1 while it is loaded, which is no setting of the server.
 */
const { existsSync, readFileSync } = require('node:fs')
const { join } = require('node:path')

process.env.TURBO_PI_TEST_HOOKS = '1'
const addon = require(
  process.env.TURBO_PI_NATIVE || join(__dirname, '../../native/build/Release/turbo_pi.node'),
)
delete process.env.TURBO_PI_TEST_HOOKS
const file = process.env.BREAK_CARD

const looking = setInterval(async () => {
  if (!existsSync(file)) return
  clearInterval(looking)
  const card = Number(readFileSync(file, 'utf8'))
  try {
    await addon.destroyContext(card)
    console.error(`card ${card} was broken`)
  } catch (error) {
    console.error(`card ${card} could not be broken: ${error.message}`)
  }
}, 20)
looking.unref()
