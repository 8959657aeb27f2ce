import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import ts from 'typescript'
import { repositoryPath } from './served-policy.js'

/** What `npm run build` writes of what a browser loads, without its check of types: a second instead of many. */
export function buildPage(): void {
  const inFolder = (folder: string) =>
    readdirSync(repositoryPath(`src/${folder}`), { recursive: true }).map(file => `${folder}/${file}`)
  const single = ['errors.ts', 'contract/limits.ts', 'contract/numpy.ts', 'contract/ndarray.ts']
  for (const file of [...single, ...['page', 'tabletop', 'client'].flatMap(inFolder)]) {
    const [source, built] = [`src/${file}`, `dist/${file}`].map(repositoryPath) as [string, string]
    mkdirSync(dirname(built), { recursive: true })
    if (/\.(?:html|css|svg)$/.test(file)) write(built, readFileSync(source, 'utf8'))
    if (file.endsWith('.ts')) write(built.replace(/\.ts$/, '.js'), transpiled(source))
  }
}

/** In one step: other test files read the same page at the same time. */
function write(path: string, content: string): void {
  const part = `${path}.${process.pid}.part`
  writeFileSync(part, content)
  renameSync(part, path)
}

const transpiled = (path: string) =>
  ts.transpileModule(readFileSync(path, 'utf8'), {
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
    },
  }).outputText
