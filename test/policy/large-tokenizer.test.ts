import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadPolicy } from '../../src/policy/loading/load.js'
import { loadTokenizer, tokenizerOf } from '../../src/policy/tokenizer/load.js'
import { PairRanks } from '../../src/policy/tokenizer/pair-ranks.js'
import { readTokenizerElsewhere } from '../../src/policy/tokenizer/read-elsewhere.js'
import { Vocabulary } from '../../src/policy/tokenizer/vocabulary.js'
import { repositoryPath } from '../support/served-policy.js'

const LETTERS = Array.from('abcdefghijklmnopqrstuvwxyz▁')

/** A `tokenizer.json` of more than a megabyte: all texts of up to three letters, and how they merge. */
function largeTokenizer(folder: string, change: object = {}): string {
  const twos = LETTERS.flatMap(a => LETTERS.map(b => [a, b] as const))
  const threes = twos.flatMap(([a, b]) => LETTERS.map(c => [a + b, c] as const))
  const merges = [...twos, ...threes]
  const pieces = ['<pad>', '<eos>', '<bos>', '<unk>', ...LETTERS, ...merges.map(([a, b]) => a + b)]
  const model = {
    type: 'BPE',
    vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
    merges: merges.map(pair => pair.join(' ')),
    unk_token: '<unk>',
    ...change,
  }
  const path = join(folder, 'tokenizer.json')
  writeFileSync(path, JSON.stringify({ model, added_tokens: [] }, null, 8))
  return path
}

t.test('a large tokenizer is read in another thread, and gives the same ids', async t => {
  const path = largeTokenizer(t.testdir())
  const here = loadTokenizer(path)
  const there = tokenizerOf(await readTokenizerElsewhere(path))
  t.equal(there.vocabSize, here.vocabSize)
  for (const text of ['▁pick▁up▁the▁cup', 'zzzzzzz', 'ü', ''])
    t.strictSame(there.encode(text), here.encode(text))
  t.strictSame(here.encode('abcab').length, 2)
  const damaged = largeTokenizer(t.testdir({ damaged: {} }), { unk_token: 'none' })
  await t.rejects(readTokenizerElsewhere(damaged), {
    code: 'TOKENIZER_INVALID',
    message: `${damaged}: the model has no unknown token.`,
  })
})

t.test('while a policy with a large tokenizer is loaded, the event loop turns', async t => {
  const tokenizer = largeTokenizer(t.testdir())
  let turns = 0
  const turning = setInterval(() => (turns += 1), 1)
  t.teardown(() => clearInterval(turning))
  await t.rejects(loadPolicy(repositoryPath('policies/tiny-libero'), { tokenizer }), {
    code: 'TOKENIZER_INVALID',
    message: /another model's tokenizer/,
  })
  t.ok(turns > 0)
})

t.test('a vocabulary finds what is in it and nothing else; the later of two equal pieces has the say', t => {
  const pieces = Array.from({ length: 5000 }, (_, id) => [`p${id}`, id] as const)
  const vocabulary = Vocabulary.of([...pieces, ['', 7], ['p3', 9], ['𝄞é', 11]])
  const wrong = pieces.filter(([piece, id]) => vocabulary.get(piece) !== (piece === 'p3' ? 9 : id))
  t.strictSame(wrong, [])
  t.equal(vocabulary.get(''), 7)
  t.equal(vocabulary.get('𝄞é'), 11)
  for (const none of ['p5000', 'p', '𝄞', ' p1']) t.equal(vocabulary.get(none), undefined)
  t.equal(Vocabulary.of([]).get('a'), undefined)
  t.end()
})

t.test('pairs have their ranks, whatever is on the left and on the right', t => {
  const ranks = PairRanks.for(4000)
  for (let i = 0; i < 2000; i += 1) {
    ranks.set(i, 0, i)
    ranks.set(0, i + 1, -i)
  }
  for (let i = 1; i < 2000; i += 1)
    if (ranks.get(i, 0) !== i || ranks.get(0, i + 1) !== -i || ranks.get(i, i) !== undefined)
      t.fail(`pairs of ${i}`)
  t.equal(ranks.get(2 ** 21 - 1, 2 ** 21 - 1), undefined)
  t.end()
})
