import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { EMBODIMENTS } from '../../src/policy/embodiment.js'
import { modelIdentity } from '../../src/policy/identity.js'
import { loadPolicy } from '../../src/policy/loading/load.js'
import type { PolicyOptions } from '../../src/policy/loading/openpi.js'
import { repositoryPath } from '../support/served-policy.js'

const original = repositoryPath('policies/tiny-libero')
const { digests, ...manifest } = JSON.parse(readFileSync(join(original, 'policy.json'), 'utf8'))

async function identityOf(directory: string, options: PolicyOptions = {}): Promise<string> {
  const policy = await loadPolicy(directory, options)
  await policy.close()
  return policy.identity
}

t.test('a policy is what acts: its statistics, tokenizer, embodiment and config', async t => {
  const folder = t.testdir()
  const identity = await identityOf(original)
  const copied = (name: string, changes: object = {}) => {
    const directory = join(folder, name)
    cpSync(original, directory, { recursive: true })
    writeFileSync(join(directory, 'policy.json'), JSON.stringify({ ...manifest, ...changes }))
    return directory
  }
  const changed = (name: string, file: string, change: (bytes: string) => string) => {
    const directory = copied(name)
    const path = join(directory, file)
    writeFileSync(path, change(readFileSync(path, 'latin1')), 'latin1')
    return identityOf(directory)
  }
  t.equal(await identityOf(copied('a copy')), identity)
  t.equal(await identityOf(copied('a name', { name: 'other' })), identity)
  const { name, ...rest } = EMBODIMENTS.libero
  t.equal(await identityOf(copied('an order', { embodiment: { ...rest, name } })), identity)
  t.equal(await identityOf(original, { guard: { mode: 'clamp', margin: 0 } }), identity, 'a guard')
  t.equal(await identityOf(original, { defaultPrompt: 'go', defaultSteps: 3 }), identity, 'defaults')

  const others = [
    await changed('statistics', manifest.normStats, text => text.replace('-0.40', '-0.41')),
    // A field that no reader knows.
    await changed('tokenizer', manifest.tokenizer, bytes => `${bytes}\xc0\x3e\x01`),
    await changed('rope', 'config.json', text => text.replace(/"rope_theta": [^,]*/, '"rope_theta": 9999')),
    await identityOf(copied('embodiment', { embodiment: { ...EMBODIMENTS.libero, deltaMask: [true] } })),
    await identityOf(copied('horizon', { actionHorizon: 5 })),
    await identityOf(copied('prompt', { discreteState: false })),
  ]
  t.equal(new Set([identity, ...others]).size, 1 + others.length, `${others}`)

  t.match(modelIdentity(identity, 'weights'), /^[0-9a-f]{32}$/)
  t.not(modelIdentity(identity, 'weights'), modelIdentity(identity, 'others'))
})
