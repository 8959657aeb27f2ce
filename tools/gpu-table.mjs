const LINE =
  /^time (?:(\d+) cards?, )?(\d+) rows?, 2 cameras, 64 tokens, 10 steps +vision +([\d.]+) +prefix +([\d.]+) +denoise +([\d.]+) \| host wall median +([\d.]+) p99 +([\d.]+) .*\| rows\/s ([\d.]+)/gm

const HEADING = `| precision | cards | rows | vision | prefix | denoise | whole | p99 | a row | rows/s |
|${'---|'.repeat(10)}`

/**
 * The table of docs/measurements of what network_check prints, `printed` by precision: milliseconds, medians; the whole by
 * the host's clock; rows/s of all cards together.
 */
export function gpuTable(printed) {
  const rows = Object.entries(printed).flatMap(([precision, lines]) =>
    [...lines.matchAll(LINE)].map(([, cards = '1', rows, vision, prefix, denoise, whole, p99, rate]) => [
      ...[precision, cards, rows],
      ...[vision, prefix, denoise].map(two),
      ...[`**${two(whole)}**`, two(p99), two(whole / rows), Number(rate).toFixed(0)],
    ]),
  )
  return [HEADING, ...rows.map(cells => `| ${cells.join(' | ')} |`)].join('\n')
}

const two = ms => Number(ms).toFixed(2)
