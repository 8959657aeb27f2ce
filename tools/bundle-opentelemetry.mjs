/** Part of `npm run build`: puts what src/tracing uses of OpenTelemetry into one file, and the licences of what is in it beside it. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { build } from 'esbuild'

const file = 'dist/tracing/opentelemetry.js'
const { metafile } = await build({
  entryPoints: ['src/tracing/opentelemetry.ts'],
  outfile: file,
  allowOverwrite: true,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  metafile: true,
  // The packages are CommonJS, and ask for Node's own modules by require.
  banner: {
    js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
  },
})

const packages = new Set(
  Object.keys(metafile.inputs).flatMap(input => input.match(/.*node_modules\/(?:@[^/]+\/)?[^/]+/) ?? []),
)
/** Texts of licences, each once, under the packages that have it. */
const licences = new Map()
for (const folder of [...packages].sort()) {
  const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'))
  const text = ['LICENSE', 'LICENSE.md', 'LICENSE.txt'].map(name => `${folder}/${name}`).find(existsSync)
  const key = text ? readFileSync(text, 'utf8') : `${license}\n`
  licences.set(key, [...(licences.get(key) ?? []), `${name} ${version}`])
}
writeFileSync(
  file.replace(/js$/, 'LICENSES.txt'),
  [...licences].map(([text, names]) => `${names.join(', ')}\n\n${text}`).join('\n----\n\n'),
)
