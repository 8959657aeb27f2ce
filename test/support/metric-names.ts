/** Names of numbers of Turbo-Pi and Node.js, as queries use them. */
export const METRIC_NAMES = /\b(?:turbo_pi|nodejs|process)_[a-z0-9_]+/g

/** Names of the numbers that a server has. */
export async function metricNames(url: string): Promise<Set<string>> {
  const text = await (await fetch(`${url}/metrics`)).text()
  return new Set(
    [...text.matchAll(/^# TYPE (\S+) (\S+)/gm)].flatMap(([, name, type]) =>
      type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name!],
    ),
  )
}
