import { readFile } from 'node:fs/promises'
import t from 'tap'
import { generatedFiles } from '../tools/generated-files.js'
import { repositoryPath } from './support/served-policy.js'

t.test(
  'files derived from the code are committed as the code makes them; else run npm run generate',
  async t => {
    for (const [path, text] of Object.entries(await generatedFiles()))
      t.equal((await readFile(repositoryPath(path))).toString(), text, path)
  },
)
