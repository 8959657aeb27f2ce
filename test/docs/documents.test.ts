import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'
import { COMMANDS, loadCommand } from '../../src/commands/table.js'
import { commandsOf, documents, readDocument } from '../support/documents.js'
import { repositoryPath } from '../support/served-policy.js'

const all = documents()
const scripts = (
  JSON.parse(readFileSync(repositoryPath('package.json'), 'utf8')) as { scripts: Record<string, string> }
).scripts

t.test('every relative link leads to a file, and every anchor to a heading', async t => {
  const problems: string[] = []
  for (const { path, links, anchors } of all)
    for (const link of links) {
      if (/^(?:https?|mailto):/.test(link)) continue
      const [file, anchor] = decodeURI(link).split('#') as [string, string?]
      const target = file === '' ? path : normalize(join(dirname(path), file))
      if (!existsSync(repositoryPath(target))) problems.push(`${path}: ${link} leads nowhere`)
      else if (anchor !== undefined) {
        const there = file === '' ? anchors : readDocument(target).anchors
        if (!there.has(anchor)) problems.push(`${path}: ${link}: ${target} has no heading of that name`)
      }
    }
  t.ok(all.length > 30, `${all.length} documents`)
  t.same(problems, [])
})

t.test('the map of the documents leads to each of them', async t => {
  const map = readDocument('docs/README.md')
  const reached = new Set(map.links.map(link => normalize(join('docs', link.split('#')[0]!))))
  const pages = all.map(({ path }) => path).filter(path => /^docs\/.+\/.*\.md$/.test(path))
  t.same(
    pages.filter(page => !reached.has(page)),
    [],
    'pages that docs/README.md does not name',
  )
})

/** Sections "N" and "N.M" of a reference, by its headings. */
function sectionsOf(path: string): Set<string> {
  const { text } = readDocument(path)
  return new Set([...text.matchAll(/^#{2,3} (\d+(?:\.\d+)*)\.? /gm)].map(([, number]) => number!))
}

/** Files in which a comment may cite a reference. */
function* sources(): Generator<string> {
  for (const folder of ['src', 'native', 'test', 'tools', 'loadtest', 'clients'])
    for (const file of readdirSync(repositoryPath(folder), { recursive: true }) as string[])
      if (/\.(?:ts|mjs|cjs|cc|h|cu|cuh|py)$/.test(file) && !/node_modules|^build[\w-]*\//.test(file))
        yield `${folder}/${file}`
}

t.test('every section of a reference that a comment cites is there', async t => {
  const problems: string[] = []
  const references = {
    network: sectionsOf('docs/reference/network.md'),
    rtc: sectionsOf('docs/reference/rtc.md'),
  }
  let cited = 0
  for (const path of sources()) {
    const text = readFileSync(repositoryPath(path), 'utf8')
    for (const [, name, list] of text.matchAll(/\b([\w-]+),? (§\d[\d.]*(?:, §\d[\d.]*)*)/g)) {
      const sections = references[name as keyof typeof references]
      // Ours are written small; others are standards.
      if (!/^[a-z]/.test(name!)) continue
      if (!sections) problems.push(`${path}: "${name} ${list}" cites a document that is not there`)
      else
        for (const [, number] of list!.matchAll(/§(\d+(?:\.\d+)*)/g)) {
          cited += 1
          if (!sections.has(number!)) problems.push(`${path}: ${name} has no §${number}`)
        }
    }
  }
  t.ok(cited > 50, `${cited} citations`)
  t.same(problems, [])
})

t.test('every file and every name of code that the architecture speaks of exists', async t => {
  const problems: string[] = []
  const files = [...sources(), ...all.map(({ path }) => path)]
  const words = new Set(
    files.flatMap(path =>
      /\.md$/.test(path) ? [] : (readFileSync(repositoryPath(path), 'utf8').match(/\w+/g) ?? []),
    ),
  )
  const { spans } = readDocument('docs/reference/architecture.md')
  const isThere = (path: string) =>
    existsSync(repositoryPath(path)) ||
    existsSync(repositoryPath(`src/${path}`)) ||
    files.some(file => file.endsWith(`/${path}`) || file.includes(`/${path.replace(/\/?$/, '/')}`))
  for (const span of spans) {
    if (/NAME|\*|^[-/]| /.test(span)) continue
    if (/\/|\.(?:ts|mjs|cjs|cc|h)$/.test(span)) {
      if (!isThere(span)) problems.push(`there is no file ${span}`)
    } else if (/^[A-Za-z]\w*(?:\.[A-Za-z]\w*)*$/.test(span))
      for (const name of span.split('.'))
        if (!words.has(name) && !isThere(span)) problems.push(`no code says ${name}`)
  }
  t.ok(spans.length > 150, `${spans.length} names`)
  t.same(problems, [])
})

t.test('every npm script that a document names exists', async t => {
  const problems: string[] = []
  for (const { path, text } of all)
    for (const [, name] of text.matchAll(/\bnpm run (?:--silent )?([a-z][\w:-]*)/g))
      if (!(name! in scripts)) problems.push(`${path}: there is no npm run ${name}`)
  t.same(problems, [])
})

/** Words that begin a command. */
const COMMAND = /^(?:\w+=\S+ )*(?:npm|npx|node|turbo-pi|sh|bash|curl|docker|trtexec|python3?|pip) /

t.test('a block of commands is marked as sh, and its turbo-pi is one that a checkout has', async t => {
  const problems: string[] = []
  for (const { path, blocks } of all)
    for (const block of blocks) {
      const commands = commandsOf(block)
      if (block.language === '' && commands.some(line => COMMAND.test(line)))
        problems.push(`${path}, ${block.heading}: a block of commands without sh: ${commands[0]}`)
      for (const line of block.language === 'sh' ? commands : [])
        if (/(?:^|[;&|] *)(?:\w+=\S+ )*turbo-pi /.test(line))
          problems.push(`${path}, ${block.heading}: write npx turbo-pi: ${line}`)
    }
  t.same(problems, [])
})

/** Each command's text of help, by its name. */
async function helpTexts(): Promise<Map<string, string>> {
  const texts = Object.keys(COMMANDS).map(async name => [name, (await loadCommand(name)).help()] as const)
  return new Map([...(await Promise.all(texts)), ['help', '']])
}

t.test('every turbo-pi command that is written out has the options that it is given', async t => {
  const problems: string[] = []
  const help = await helpTexts()
  let seen = 0
  for (const { path, blocks, spans } of all) {
    const lines = blocks.filter(({ language }) => language === 'sh').flatMap(commandsOf)
    for (const line of [...lines, ...spans]) {
      const [, name, rest] = /(?:\bturbo-pi(?::\w+)?|dist\/cli\.js) ([a-z]+)((?: .*)?)$/.exec(line) ?? []
      if (name === undefined) continue
      seen += 1
      const known = help.get(name)
      if (known === undefined) problems.push(`${path}: there is no command turbo-pi ${name}: ${line}`)
      else
        for (const [, option] of rest!.matchAll(/ (--[a-z][a-z-]*)/g))
          if (option !== '--help' && !known.includes(option!))
            problems.push(`${path}: turbo-pi ${name} has no ${option}: ${line}`)
    }
  }
  t.ok(seen > 50, `${seen} commands`)
  t.same(problems, [])
})
