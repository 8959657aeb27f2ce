/**
 * npx tsx tools/release-notes.ts VERSION: prints what CHANGELOG.md says of a version. Fails when it has no dated section for it,
 * or when a package of this repository is of another version.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { reasonOf } from '../src/errors.js'

const read = (file: string) => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')
const versionIn = (file: string) => (JSON.parse(read(file)) as { version: string }).version

/** The version that each package states. */
const statedVersions = (): Record<string, string | undefined> => ({
  'package.json': versionIn('package.json'),
  'package-lock.json': versionIn('package-lock.json'),
  'clients/typescript/package.json': versionIn('clients/typescript/package.json'),
  'clients/python/pyproject.toml': /^version = "(.*)"$/m.exec(read('clients/python/pyproject.toml'))?.[1],
})

/** The section of a version; throws an Error that says what is missing. */
export function releaseNotes(
  version: string,
  changelog = read('CHANGELOG.md'),
  stated = statedVersions(),
): string {
  for (const [file, other] of Object.entries(stated))
    if (other !== version) throw new Error(`${file} says ${other}, the release is ${version}.`)
  const heading = new RegExp(`^${version.replaceAll('.', '\\.')} - \\d{4}-\\d{2}-\\d{2}\\n`)
  const section = changelog.split(/^## /m).find(text => heading.test(text))
  if (!section) throw new Error(`CHANGELOG.md has no section "## ${version} - YYYY-MM-DD".`)
  const notes = section.replace(heading, '').trim()
  if (!notes) throw new Error(`CHANGELOG.md says nothing of ${version}.`)
  return notes
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const version = process.argv[2]
    if (!version) throw new Error('Give the version: npx tsx tools/release-notes.ts VERSION.')
    console.log(releaseNotes(version))
  } catch (error) {
    console.error(reasonOf(error))
    process.exitCode = 1
  }
}
