/** Fields that a reader of lines has no use for. */
const LEFT_OUT = new Set(['level', 'time', 'pid', 'hostname', 'msg', 'err', 'reqId'])
const LEVELS: Readonly<Record<number, string>> = { 40: 'warning: ', 50: 'error: ', 60: 'fatal: ' }

interface LogRecord {
  level: number
  time: number
  msg?: string
  err?: { message: string; code?: string; stack?: string }
  [field: string]: unknown
}

/** A line of the JSON log as people read it: `12:03:11 ready policy=tabletop backend=cpu`. */
export function logLine(json: string): string {
  const record = JSON.parse(json) as LogRecord
  const { level, time, msg = '', err } = record
  const fields = Object.entries(record)
    .filter(([name, value]) => !LEFT_OUT.has(name) && value !== undefined && value !== null)
    .map(([name, value]) => `${name}=${typeof value === 'string' ? quoted(value) : JSON.stringify(value)}`)
  const clock = new Date(time).toTimeString().slice(0, 8)
  const head = [clock, `${LEVELS[level] ?? ''}${msg}`, ...fields].join(' ')
  return `${head}${err && err.message !== msg ? `\n${indented(described(err))}` : ''}\n`
}

const quoted = (text: string) => (/[\s"=]/.test(text) ? JSON.stringify(text) : text)

/** An error that says what to do needs no stack. */
const described = ({ message, code, stack }: NonNullable<LogRecord['err']>) =>
  code === undefined ? (stack ?? message) : `${message} (${code})`

const indented = (text: string) =>
  text
    .split('\n')
    .map(line => `         ${line}`)
    .join('\n')
