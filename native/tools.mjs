/** What the native scripts share: the places they use, and running a command with a readable failure. */
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const nativeRoot = path.dirname(fileURLToPath(import.meta.url))

/** Ends the process with `message` when the machine can not compile. */
export function requireCompiler(script) {
  for (const [command, name] of [
    [process.env.CXX ?? 'c++', 'a C++17 compiler'],
    ['cmake', 'CMake 3.22 or later'],
  ]) {
    if (spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0) continue
    console.error(
      `${script} needs ${name} (${command} was not found): apt-get install g++ cmake. Without it everything but the TensorRT runtime works.`,
    )
    process.exit(1)
  }
}

/** Runs a command, its output going through; ends the process when it fails. */
export function run(command, args, options = {}) {
  const result = spawnSync(command, args, { stdio: 'inherit', ...options })
  if (result.status === 0) return
  console.error(`${[command, ...args].join(' ')} failed${result.error ? `: ${result.error.message}` : ''}`)
  process.exit(result.status ?? 1)
}

/** cmake-js is there in a checkout; beside an installed package it is to be put. */
function resolveCmakeJs() {
  try {
    return createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js')
  } catch {
    console.error('cmake-js, which compiles the addon, is not there: npm install --no-save cmake-js@8.')
    process.exit(1)
  }
}

/** Configures and compiles the addon with cmake-js into `out`. Configures each time: the headers may be others now. */
export function compileAddon(out, definitions) {
  const cmakeJs = resolveCmakeJs()
  const flags = Object.entries(definitions).map(([name, value]) => `--CD${name}=${value}`)
  for (const command of ['configure', 'build'])
    runQuietly(process.execPath, [cmakeJs, command, '--directory', nativeRoot, '--out', out, ...flags])
}

/** As run, but its output is printed only when it fails, and returned when it does not. */
export function runQuietly(command, args) {
  const result = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 2 ** 28 })
  if (result.status === 0) return result.stdout
  console.error(`${result.stdout ?? ''}${result.stderr ?? ''}`)
  console.error(`${[command, ...args].join(' ')} failed${result.error ? `: ${result.error.message}` : ''}`)
  process.exit(result.status ?? 1)
}
