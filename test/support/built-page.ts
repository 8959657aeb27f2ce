import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import ts from 'typescript'
import { repositoryPath } from './served-policy.js'

/** What `npm run build` writes of the page and the tabletop, without its check of types: a second instead of many. */
export function buildPage(): void {
  const inFolder = (folder: string) =>
    readdirSync(repositoryPath(`src/${folder}`)).map(file => `${folder}/${file}`)
  for (const file of ['errors.ts', ...inFolder('page'), ...inFolder('tabletop')]) {
    const [source, built] = [`src/${file}`, `dist/${file}`].map(repositoryPath) as [string, string]
    mkdirSync(dirname(built), { recursive: true })
    if (/\.(?:html|css|svg)$/.test(file)) cpSync(source, built)
    if (file.endsWith('.ts')) writeFileSync(built.replace(/\.ts$/, '.js'), transpiled(source))
  }
}

const transpiled = (path: string) =>
  ts.transpileModule(readFileSync(path, 'utf8'), {
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
    },
  }).outputText
