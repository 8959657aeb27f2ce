import { readdirSync, readFileSync } from 'node:fs'
import GithubSlugger from 'github-slugger'
import { lexer, type Token, type Tokens, walkTokens } from 'marked'
import { repositoryPath } from './served-policy.js'

/** Folders that hold no documents of ours. */
const NOT_OURS = new Set([
  'node_modules',
  'dist',
  '.git',
  '.tap',
  'build',
  'coverage',
  'api',
  '.venv',
  'cases',
  'users',
])

/** A fenced block, and the heading that it stands under. */
export interface Block {
  language: string
  text: string
  heading: string
}

/** A Markdown file of the repository. */
export interface Document {
  /** From the root of the repository. */
  path: string
  text: string
  /** Targets of its links and pictures, as written. */
  links: readonly string[]
  /** Anchors of its headings, as GitHub makes them. */
  anchors: ReadonlySet<string>
  blocks: readonly Block[]
  /** Spans of code in its sentences and tables. */
  spans: readonly string[]
}

export function readDocument(path: string): Document {
  const text = readFileSync(repositoryPath(path), 'utf8')
  const slugger = new GithubSlugger()
  const links: string[] = []
  const anchors = new Set<string>()
  const blocks: Block[] = []
  const spans: string[] = []
  let heading = ''
  walkTokens(lexer(text), (token: Token) => {
    if (token.type === 'heading') {
      heading = plain((token as Tokens.Heading).tokens)
      anchors.add(slugger.slug(heading))
    } else if (token.type === 'code') {
      const { lang, text } = token as Tokens.Code
      blocks.push({ language: lang ?? '', text, heading })
    } else if (token.type === 'link' || token.type === 'image') links.push((token as Tokens.Link).href)
    else if (token.type === 'codespan') spans.push((token as Tokens.Codespan).text.replaceAll('\n', ' '))
  })
  return { path, text, links, anchors, blocks, spans }
}

/** A heading without its marks. */
const plain = (tokens: readonly Token[]): string =>
  tokens
    .map(token => ('tokens' in token && token.tokens ? plain(token.tokens) : (token as Tokens.Text).text))
    .join('')

/** Every Markdown file of the repository. */
export const documents = (): Document[] => markdownIn('').sort().map(readDocument)

function markdownIn(folder: string): string[] {
  return readdirSync(repositoryPath(folder), { withFileTypes: true }).flatMap(entry => {
    const path = `${folder}${entry.name}`
    if (entry.isDirectory()) return NOT_OURS.has(entry.name) ? [] : markdownIn(`${path}/`)
    return entry.name.endsWith('.md') ? [path] : []
  })
}

/** The commands of a block, one a line: continued lines are joined, comments left out. */
export const commandsOf = ({ text }: Pick<Block, 'text'>): string[] =>
  text
    .replaceAll(/\\\n\s*/g, ' ')
    .split('\n')
    .map(line => line.replace(/(?:^|\s+)# .*$/, '').trim())
    .filter(line => line !== '')
