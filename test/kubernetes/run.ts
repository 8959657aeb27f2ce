import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { machineLine } from '../../src/commands/kit/machine.js'
import { markdownTable } from '../../src/commands/kit/table.js'
import { reasonOf } from '../../src/errors.js'
import { Cluster } from './cluster.js'
import { buildPrograms, helmOf, kwokStages } from './programs.js'
import { STEPS } from './steps.js'

const HELP = `npm run test:kubernetes -- [--bin DIR] [--kserve-crds DIR]

Installs, upgrades, breaks and rolls back the Helm chart in a Kubernetes of etcd, API server, controller manager and scheduler on this
machine; kwok plays nodes and pods. Needs Go 1.26 and the network: the programs are built from the Go module in test/kubernetes, which
takes a while the first time. --bin DIR keeps them there, and takes those that are there already. --kserve-crds DIR is config/crd/full
of KServe's repository.`

const { values } = parseArgs({
  options: { bin: { type: 'string' }, 'kserve-crds': { type: 'string' }, help: { type: 'boolean' } },
})

async function main(): Promise<number> {
  if (values.help) {
    console.log(HELP)
    return 0
  }
  const scratch = mkdtempSync(join(tmpdir(), 'turbo-pi-kubernetes-'))
  const bin = resolve(values.bin ?? scratch)
  const cluster = new Cluster(bin, await kwokStages())
  const rows: string[][] = []
  let failed = 0
  try {
    if (!existsSync(join(bin, 'kube-apiserver'))) await buildPrograms(bin)
    const timed = async (name: string, run: () => Promise<string>) => {
      const start = performance.now()
      const seen = await run().catch(error => {
        failed += 1
        return `NOT AS PROMISED: ${reasonOf(error)}`
      })
      rows.push([
        name,
        `${((performance.now() - start) / 1000).toFixed(1)}`,
        seen.trim().replaceAll('|', '\\|'),
      ])
      console.error(rows.at(-1)!.join(' | '))
    }
    await timed('the cluster starts', async () => {
      await cluster.start()
      await cluster.addNode('node-1', 0)
      const { body } = await cluster.api.get('/version')
      return `Kubernetes ${body.gitVersion}, one node of kwok`
    })
    const helm = helmOf(bin, cluster.kubeconfig, join(scratch, 'helm'))
    for (const { name, run } of failed ? [] : STEPS)
      await timed(name, () => run({ cluster, helm, kserve: values['kserve-crds'] }))
  } finally {
    await cluster.stop()
    rmSync(scratch, { recursive: true, force: true })
  }
  console.log(`${machineLine()}\n\n${markdownTable(['step', 's', 'what was seen'], rows)}`)
  return failed > 0 ? 1 : 0
}

process.exitCode = await main()
