import { join } from 'node:path'
import { repositoryPath } from '../support/served-policy.js'
import { FaultServer, folder, type ServerOptions } from './server.js'

/** A server whose engine fails on command: `path` names the file that gives one. */
export async function faultyEngine(options: ServerOptions = {}) {
  const directory = folder()
  const server = await FaultServer.start({
    ...options,
    node: [...(options.node ?? []), `--require=${repositoryPath('test/support/faulty-engine.cjs')}`],
    env: { ...options.env, FAULTY_ENGINE: directory },
  })
  return { server, path: (name: 'hang' | 'throw' | 'die') => join(directory, name) }
}
