import { choice, file, settings } from './kinds.js'

/** How the program itself behaves. */
export const GENERAL_SETTINGS = settings('General', {
  configFile: file({
    meaning:
      'YAML or JSON file of settings, by the names of their flags; flags and the environment win over it (openpi’s preset is --config)',
  }),
  logLevel: choice({
    default: 'info',
    choices: ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
    meaning: 'how much is logged',
  }),
  logFormat: choice({
    default: 'auto',
    choices: ['auto', 'lines', 'json'],
    meaning: 'lines to read or JSON; auto is lines on a terminal, JSON elsewhere',
  }),
})

/** Of commands that take settings and start no server. */
export const CONFIG_FILE = { configFile: GENERAL_SETTINGS.configFile }
