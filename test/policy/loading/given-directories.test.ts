import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { checkPolicy, loadPolicy } from '../../../src/policy/loading/load.js'
import { openpiCheckpoint, scratch } from '../../support/checkpoint.js'
import { GIVEN } from '../../support/given-directories.js'
import { refused } from '../../support/refused.js'

for (const { what, make, options = {}, check, says, todo } of GIVEN)
  t.test(check ? `refused in two lines: ${what}` : `served: ${what}`, async t => {
    const directory = make(t)
    const failed = checkPolicy(directory, options).filter(result => result.status === 'failed')
    if (!check) {
      t.same(failed, [])
      await (await loadPolicy(directory, options)).close()
      return
    }
    const [first] = failed
    t.equal(first?.name, check)
    const [is, does = ''] = first!.detail.split('\n')
    t.match(is, says)
    if (todo) t.match(does, todo)
    await t.rejects(
      loadPolicy(directory, options),
      { message: first!.detail },
      'and the loader says the same',
    )
  })

for (const [id, todo] of [
  ['hf://lerobot/pi05_base', /turbo-pi pull hf:\/\/lerobot\/pi05_base/],
  ['lerobot/pi05_base', /turbo-pi pull lerobot\/pi05_base/],
  ['lerobot/pi05_base@v2', /turbo-pi pull lerobot\/pi05_base@v2/],
  ['gs://openpi-assets/checkpoints/pi05_libero', /turbo-pi pull gs:/],
] as const)
  t.test(`${id} is no directory, but somebody's name for one`, t =>
    refused(t, id, {}, 'directory', 'POLICY_INVALID', todo),
  )

t.test('the tokenizer is found where openpi and Hugging Face keep it', async t => {
  const directory = openpiCheckpoint(t)
  const config = { config: 'pi05_libero' }
  const file = join(directory, 'tokenizer.model')
  const kept = join(scratch(t), 'kept.model')
  renameSync(file, kept)
  const [openpi, hub] = [scratch(t), scratch(t)]
  t.intercept(process, 'env', { value: { ...process.env, OPENPI_DATA_HOME: openpi, HF_HUB_CACHE: hub } })
  const message = [
    /has no tokenizer .*tokenizer\.json, there or in tokenizer\//,
    `${openpi}/big_vision/paligemma_tokenizer.model`,
    `google/paligemma-3b-pt-224 in ${hub}`,
    /turbo-pi pull tokenizer/,
  ]
  await refused(t, directory, config, 'config', 'TOKENIZER_INVALID', ...message)
  const snapshot = join(hub, 'models--google--paligemma-3b-pt-224/snapshots/0123')
  mkdirSync(join(snapshot, '../../refs'), { recursive: true })
  writeFileSync(join(snapshot, '../../refs/main'), '0123')
  let last = kept
  for (const place of [
    join(snapshot, 'tokenizer.model'),
    join(openpi, 'big_vision/paligemma_tokenizer.model'),
    join(directory, 'tokenizer/tokenizer.model'),
    file,
  ]) {
    mkdirSync(join(place, '..'), { recursive: true })
    renameSync(last, place)
    const results = checkPolicy(directory, config)
    t.match(results.find(({ name }) => name === 'tokenizer')?.detail, `2048 tokens: ${place}`)
    t.notOk(results.some(({ status }) => status === 'failed'))
    last = place
  }
  rmSync(file)
})
