/**
 * Part of `npm run build`: puts what is used of large packages into one file each, in the place of the module that exports it, and the
 * licences of what is in it beside it. Few servers need them, and all would carry their packages.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { build } from 'esbuild'

for (const module of ['tracing/opentelemetry', 'routes/open-inference/grpc-js']) {
  const { metafile } = await build({
    entryPoints: [`src/${module}.ts`],
    outfile: `dist/${module}.js`,
    allowOverwrite: true,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    metafile: true,
    // The packages are CommonJS: they ask for Node's own modules by require, and for the folder they lie in.
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url); const __dirname = import.meta.dirname;",
    },
  })
  writeFileSync(`dist/${module}.LICENSES.txt`, licencesOf(Object.keys(metafile.inputs)))
}

/** Texts of licences, each once, under the packages that have it. */
function licencesOf(inputs) {
  const packages = new Set(inputs.flatMap(input => input.match(/.*node_modules\/(?:@[^/]+\/)?[^/]+/) ?? []))
  const licences = new Map()
  for (const folder of [...packages].sort()) {
    const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'))
    const file = ['LICENSE', 'LICENSE.md', 'LICENSE.txt'].map(name => `${folder}/${name}`).find(existsSync)
    const text = file ? readFileSync(file, 'utf8') : `${license}\n`
    licences.set(text, [...(licences.get(text) ?? []), `${name} ${version}`])
  }
  return [...licences].map(([text, names]) => `${names.join(', ')}\n\n${text}`).join('\n----\n\n')
}
