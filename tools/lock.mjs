/**
 * npm run lock: writes package-lock.json anew after a change of package.json. What it says of install scripts is left out, so
 * that `npm ci` runs none under any npm (docs/reference/package.md); test/package.test.ts checks it.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'

const lock = new URL('../package-lock.json', import.meta.url)
execFileSync('npm', ['install', '--package-lock-only', '--ignore-scripts'], { stdio: 'inherit' })
writeFileSync(lock, readFileSync(lock, 'utf8').replace(/^ *"hasInstallScript": true,\n/gm, ''))
