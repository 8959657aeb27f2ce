#!/usr/bin/env -S node --v8-pool-size=1
import { reasonOf, TurboPiError } from './errors.js'

interface Command {
  /** Text of `turbo-pi COMMAND --help`. */
  help: string
  /** Resolves with the exit code. */
  run(argv: string[]): Promise<number>
}

const COMMANDS: Record<string, [summary: string, load: () => Promise<Command>]> = {
  serve: ['serve a policy over HTTP and WebSocket', () => import('./commands/serve.js')],
  doctor: ['check a policy directory', () => import('./commands/doctor.js')],
  init: ['write the policy.json of a checkpoint', () => import('./commands/init/init.js')],
  pull: ['download a checkpoint or the tokenizer', () => import('./commands/pull/pull.js')],
  verify: ['compare a runtime with reference data', () => import('./commands/verify/verify.js')],
  eval: ['let a policy act on the simulated tabletop', () => import('./commands/eval/eval.js')],
  link: ['measure the way to a server', () => import('./commands/link.js')],
  motion: ['compare how chunks are executed under delay', () => import('./commands/motion/motion.js')],
  export: ['write the ONNX graphs and weights of a checkpoint', () => import('./commands/export.js')],
  build: ['build the TensorRT engines of a policy and check them', () => import('./commands/build.js')],
  clear: ['let a robot go on that a guard has stopped', () => import('./commands/clear.js')],
  swap: ['put another policy in the place of one that is served', () => import('./commands/swap.js')],
  cache: ['list or prune lowered models and engines', () => import('./commands/cache.js')],
  bench: ['time every stage of the served policy', () => import('./commands/bench/bench.js')],
}

const usage = () =>
  `turbo-pi COMMAND [options]\n\n${Object.entries(COMMANDS)
    .map(([name, [summary]]) => `  ${name.padEnd(10)} ${summary}`)
    .join('\n')}\n\nturbo-pi COMMAND --help tells its options.`

async function main([name, ...argv]: string[]): Promise<number> {
  if (name === undefined || name === '--help' || name === '-h') {
    console.log(usage())
    return name === undefined ? 2 : 0
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!command) {
    console.error(`turbo-pi: there is no command ${JSON.stringify(name)}.\n\n${usage()}`)
    return 2
  }
  const { help, run } = await command[1]()
  if (argv.includes('--help') || argv.includes('-h')) {
    console.log(help)
    return 0
  }
  return run(argv)
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (error instanceof TurboPiError)
    console.error(`turbo-pi: ${error.title} (${error.code}).\n${error.message}`)
  else console.error(error instanceof Error ? (error.stack ?? error.message) : reasonOf(error))
  process.exitCode = 1
}
