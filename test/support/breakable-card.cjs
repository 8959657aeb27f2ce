/*
 * Loaded into a server before anything else: on SIGUSR2 the card that $BREAK_CARD names fails for good, as after an Xid. The addon
 * has the hook for that where TURBO_PI_TEST_HOOKS=1.
 */
const { join } = require('node:path')

process.on('SIGUSR2', async () => {
  const path = process.env.TURBO_PI_NATIVE || join(__dirname, '../../native/build/Release/turbo_pi.node')
  try {
    await require(path).destroyContext(Number(process.env.BREAK_CARD))
    console.error(`card ${process.env.BREAK_CARD} was broken`)
  } catch (error) {
    console.error(`card ${process.env.BREAK_CARD} could not be broken: ${error.message}`)
  }
})
