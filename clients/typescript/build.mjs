/**
 * Builds @turbo-pi/client from src/client: the modules that its entries reach, and no others. The contract's types come
 * from TypeBox schemas; here they are written out, so that the client's types need no TypeBox.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const here = fileURLToPath(new URL('.', import.meta.url))
const root = path.join(here, '../..')
const source = path.join(root, 'src')
const target = path.join(here, 'dist')
const ENTRIES = ['client/index', 'client/browser']
/** Modules of which the client uses types alone. */
const TYPES_ONLY = ['contract/report', 'contract/stream-messages', 'contract/problem']

const { config } = ts.readConfigFile(path.join(root, 'tsconfig.json'), ts.sys.readFile)
const { options } = ts.convertCompilerOptionsFromJson(
  {
    ...config.compilerOptions,
    lib: ['ES2023', 'ESNext.Disposable', 'DOM', 'DOM.Iterable'],
    noEmit: false,
    declaration: true,
    rootDir: source,
    outDir: '/',
  },
  root,
)
const program = ts.createProgram(
  ENTRIES.map(entry => path.join(source, `${entry}.ts`)),
  options,
)
const problems = ts.getPreEmitDiagnostics(program)
if (problems.length > 0) {
  console.error(ts.formatDiagnosticsWithColorAndContext(problems, ts.createCompilerHost(options)))
  process.exit(1)
}
const emitted = new Map()
program.emit(undefined, (file, text) => emitted.set(file.slice(1), text))
for (const module of TYPES_ONLY) emitted.set(`${module}.d.ts`, typesOf(`${module}.ts`))

rmSync(target, { recursive: true, force: true })
for (const extension of ['.js', '.d.ts'])
  for (const module of reached(extension)) {
    const file = path.join(target, module + extension)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, head(module, extension) + emitted.get(module + extension))
  }

/** Modules that the entries import, directly or not. */
function reached(extension) {
  const modules = new Set(ENTRIES)
  for (const module of modules)
    for (const { fileName } of ts.preProcessFile(emitted.get(module + extension), true, true).importedFiles) {
      if (fileName.startsWith('.'))
        modules.add(path.posix.join(path.posix.dirname(module), fileName).replace(/\.js$/, ''))
      else if (!fileName.startsWith('node:') && (fileName !== 'ws' || extension === '.d.ts'))
        throw new Error(`${module}${extension} imports ${fileName}: ws is the only dependency of the client`)
    }
  return modules
}

/** `await using` of a client needs this library wherever its types are read. */
function head(module, extension) {
  return extension === '.d.ts' && ENTRIES.includes(module)
    ? '/// <reference lib="esnext.disposable" />\n'
    : ''
}

/** The exported type aliases and interfaces of a file, with nothing left to compute. */
function typesOf(file) {
  const checker = program.getTypeChecker()
  const module = program.getSourceFile(path.join(source, file))
  const flags = ts.TypeFormatFlags.NoTruncation | ts.TypeFormatFlags.InTypeAlias
  const others = new Set(TYPES_ONLY.map(one => `./${path.basename(one)}.js`))
  const isOther = node => ts.isImportDeclaration(node) && others.has(node.moduleSpecifier.text)
  return module.statements
    .filter(node => ts.isTypeAliasDeclaration(node) || ts.isInterfaceDeclaration(node) || isOther(node))
    .map(node => {
      if (!ts.isTypeAliasDeclaration(node)) return node.getText()
      return `export type ${node.name.text} = ${checker.typeToString(checker.getTypeAtLocation(node.name), node, flags)}`
    })
    .join('\n')
}
