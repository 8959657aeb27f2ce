import { cpus, totalmem } from 'node:os'

/** "8 × Intel …, 31 GiB, Node v20.17.0": what a measurement was made on. */
export function machineLine(): string {
  const cores = cpus()
  const memory = Math.round(totalmem() / 2 ** 30)
  return `${cores.length} × ${cores[0]?.model.trim() ?? 'unknown CPU'}, ${memory} GiB, Node ${process.version}`
}
