// What HEALTHCHECK runs: status 0 when the server of this container is ready, 1 with the reason when it is not.
const url = `http://127.0.0.1:${process.env.TURBO_PI_PORT ?? 8000}/readyz`
try {
  const response = await fetch(url, { signal: AbortSignal.timeout(4000) })
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
} catch (error) {
  console.error(`${url}: ${error.cause?.message ?? error.message}`)
  process.exitCode = 1
}
