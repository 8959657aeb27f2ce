import type { Command, CommandRow } from './kit/command.js'

/** Every command; its module is loaded when it is called, or all are for completion. */
export const COMMANDS: Readonly<Record<string, CommandRow>> = {
  serve: {
    group: 'A server',
    summary: 'serve a policy over HTTP and WebSocket',
    load: () => import('./serve.js'),
  },
  swap: {
    group: 'A server',
    summary: 'put another policy in the place of one that is served',
    load: () => import('./swap.js'),
  },
  clear: {
    group: 'A server',
    summary: 'let a robot go on that a guard has stopped',
    load: () => import('./clear.js'),
  },
  link: { group: 'A server', summary: 'measure the way to a server', load: () => import('./link.js') },
  top: {
    group: 'A server',
    summary: 'watch a running server in the terminal',
    load: () => import('./top/top.js'),
  },
  pull: {
    group: 'Policies and checkpoints',
    summary: 'download a checkpoint or the tokenizer',
    load: () => import('./pull/pull.js'),
  },
  init: {
    group: 'Policies and checkpoints',
    summary: 'write the policy.json of a checkpoint',
    load: () => import('./init/init.js'),
  },
  doctor: {
    group: 'Policies and checkpoints',
    summary: 'check a policy directory',
    load: () => import('./doctor.js'),
  },
  export: {
    group: 'Policies and checkpoints',
    summary: 'write the ONNX graphs and weights of a checkpoint',
    load: () => import('./export.js'),
  },
  build: {
    group: 'Policies and checkpoints',
    summary: 'build the TensorRT engines of a policy and check them',
    load: () => import('./build.js'),
  },
  cache: {
    group: 'Policies and checkpoints',
    summary: 'list or prune lowered models and engines',
    load: () => import('./cache.js'),
  },
  verify: {
    group: 'How exact, good and fast',
    summary: 'compare a runtime with reference data or another one',
    load: () => import('./verify/verify.js'),
  },
  replay: {
    group: 'How exact, good and fast',
    summary: 'give recorded observations to a policy once more',
    load: () => import('./replay/replay.js'),
  },
  'export-dataset': {
    group: 'Policies and checkpoints',
    summary: 'write recordings as a LeRobotDataset',
    load: () => import('./export-dataset.js'),
  },
  eval: {
    group: 'How exact, good and fast',
    summary: 'let a policy act on the simulated tabletop',
    load: () => import('./eval/eval.js'),
  },
  motion: {
    group: 'How exact, good and fast',
    summary: 'compare how chunks are executed under delay',
    load: () => import('./motion/motion.js'),
  },
  bench: {
    group: 'How exact, good and fast',
    summary: 'time every stage of an inference',
    load: () => import('./bench/bench.js'),
  },
  capacity: {
    group: 'How exact, good and fast',
    summary: 'tell how many replicas robots need, by simulation',
    load: () => import('./capacity/capacity.js'),
  },
  completion: {
    group: 'This program',
    summary: 'print what completes commands and options in a shell',
    load: async () => ({
      command: (await import('./completion/completion.js')).completionOf(COMMANDS),
    }),
  },
}

/** The command of a name. */
export const loadCommand = async (name: string): Promise<Command> => (await COMMANDS[name]!.load()).command
