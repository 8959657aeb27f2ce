import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { convertWorkflowTemplate, NoOperationTraceWriter, parseWorkflow } from '@actions/workflow-parser'
import t from 'tap'
import { parse } from 'yaml'
import { releaseNotes } from '../../tools/release-notes.js'
import { repositoryPath } from '../support/served-policy.js'

const read = (path: string) => readFileSync(repositoryPath(path), 'utf8')
const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }

interface Step {
  uses?: string
  run?: string
  with?: Record<string, string>
}
interface Job {
  'timeout-minutes'?: number
  needs?: string | string[]
  strategy?: { matrix: Record<string, unknown> }
  steps: Step[]
}
interface Workflow {
  permissions?: unknown
  jobs: Record<string, Job>
}

const workflows = readdirSync(repositoryPath('.github/workflows')).map(file => {
  const path = `.github/workflows/${file}`
  return { path, text: read(path), workflow: parse(read(path)) as Workflow }
})

t.test('GitHub takes the workflows', async t => {
  t.same(workflows.map(({ path }) => path).sort(), [
    '.github/workflows/ci.yml',
    '.github/workflows/nightly.yml',
    '.github/workflows/release.yml',
  ])
  for (const { path, text } of workflows) {
    const { context, value } = parseWorkflow({ name: path, content: text }, new NoOperationTraceWriter())
    t.same(
      context.errors.getErrors().map(({ message }) => message),
      [],
      path,
    )
    const template = await convertWorkflowTemplate(context, value!)
    t.same(template.errors ?? [], [], path)
  }
})

t.test('what is no workflow is refused', async t => {
  const broken = 'on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    step:\n      - run: ls\n'
  const { context } = parseWorkflow({ name: 'broken.yml', content: broken }, new NoOperationTraceWriter())
  t.ok(context.errors.getErrors().length > 0)
})

/** The rows of a job's matrix; one without values where it has none. */
function rowsOf({ strategy }: Job): Record<string, string>[] {
  const { include = [], ...axes } = (strategy?.matrix ?? {}) as Record<string, unknown[]> & {
    include?: Record<string, string>[]
  }
  if (include.length > 0) return include
  return Object.entries(axes).reduce<Record<string, string>[]>(
    (rows, [name, values]) => rows.flatMap(row => values.map(value => ({ ...row, [name]: String(value) }))),
    [{}],
  )
}

/** What a job's steps run, in every row of its matrix. */
const runsOf = (job: Job): string[] =>
  rowsOf(job).flatMap(row =>
    job.steps.map(({ run = '', with: given = {} }) =>
      [run, ...Object.values(given)]
        .join('\n')
        .replaceAll(/\$\{\{ matrix\.(\w+) \}\}/g, (all, name: string) => row[name] ?? all),
    ),
  )

t.test('every npm script and every file that a workflow runs exists', async t => {
  const called = new Set<string>()
  const problems: string[] = []
  for (const { path, workflow } of workflows)
    for (const [name, job] of Object.entries(workflow.jobs))
      for (const run of runsOf(job)) {
        for (const [, script] of run.matchAll(/\bnpm run ([\w:-]+)/g)) {
          called.add(script!)
          if (!(script! in scripts)) problems.push(`${path}, ${name}: npm run ${script}`)
        }
        for (const [, file] of run.matchAll(/(?:bash |tsx |--file |^)((?:\.ci|tools|docker)\/[\w./-]+)/gm))
          if (!existsSync(repositoryPath(file!))) problems.push(`${path}, ${name}: ${file}`)
        if (run.includes('matrix.')) problems.push(`${path}, ${name}: its matrix lacks what it names: ${run}`)
      }
  t.same(problems, [])
  t.same([...called].sort(), [
    'docs:api',
    'pack:native',
    'test:faults',
    'test:fuzz',
    'test:loop',
    'test:mutations',
  ])
})

t.test('a workflow may only read unless a job says otherwise, ends, and pins what it uses', async t => {
  for (const { path, workflow } of workflows) {
    t.same(workflow.permissions, { contents: 'read' }, path)
    for (const [name, job] of Object.entries(workflow.jobs)) {
      t.ok(job['timeout-minutes']! > 0, `${path}, ${name}: it has a limit of time`)
      for (const before of [job.needs ?? []].flat())
        t.ok(workflow.jobs[before], `${path}, ${name}: needs ${before}`)
      for (const { uses } of job.steps) if (uses) t.match(uses, /^[\w-]+\/[\w-]+@v\d+$/, `${path}, ${name}`)
    }
  }
})

const FIELDS = new Set(['markdown', 'input', 'textarea', 'dropdown', 'checkboxes'])

interface Field {
  type: string
  id?: string
  attributes: { label?: string; value?: string; options?: unknown[] }
}

t.test('issue forms have what GitHub asks of a form', async t => {
  const folder = '.github/ISSUE_TEMPLATE'
  const forms = readdirSync(repositoryPath(folder)).filter(file => file !== 'config.yml')
  t.same(forms.sort(), ['bug.yml', 'checkpoint.yml', 'feature.yml'])
  for (const file of forms) {
    const form = parse(read(`${folder}/${file}`)) as { name: string; description: string; body: Field[] }
    t.match(form, { name: String, description: String, body: Array }, file)
    const ids = form.body.flatMap(({ id }) => id ?? [])
    t.equal(new Set(ids).size, ids.length, `${file}: ids differ`)
    for (const { type, attributes } of form.body) {
      t.ok(FIELDS.has(type), `${file}: ${type}`)
      if (type === 'markdown') t.type(attributes.value, 'string')
      else t.type(attributes.label, 'string', `${file}: every field has a label`)
      if (type === 'dropdown') t.ok(attributes.options!.length > 1 && attributes.options!.every(Boolean))
    }
  }
})

t.test('dependabot looks into folders that have what it looks for', async t => {
  const { version, updates } = parse(read('.github/dependabot.yml')) as {
    version: number
    updates: { 'package-ecosystem': string; directory: string; schedule: { interval: string } }[]
  }
  t.equal(version, 2)
  const files: Record<string, string> = {
    npm: 'package.json',
    pip: 'pyproject.toml',
    docker: 'Dockerfile.cpu',
    'github-actions': '.github/workflows',
  }
  for (const { 'package-ecosystem': kind, directory, schedule } of updates) {
    t.ok(existsSync(repositoryPath(`${directory}/${files[kind]}`)), kind)
    t.equal(schedule.interval, 'weekly')
  }
})

t.test('the notes of a release are the dated section of its version', async t => {
  const { version } = JSON.parse(read('package.json')) as { version: string }
  t.match(releaseNotes(version), /^- /m, 'this version has notes')
  const changelog =
    '# Changelog\n\n## Unreleased\n\n- b\n\n## 2.0.0 - 2030-01-02\n\n- a\n\n## 1.0.0\n\n- old\n'
  t.equal(releaseNotes('2.0.0', changelog, {}), '- a')
  t.throws(() => releaseNotes('1.0.0', changelog, {}), /no section "## 1\.0\.0 - YYYY-MM-DD"/)
  t.throws(() => releaseNotes('2.0.0', changelog, { 'package.json': '1.0.0' }), /package\.json says 1\.0\.0/)
  t.throws(() => releaseNotes('2.0.0', changelog.replace('- a', ''), {}), /says nothing of 2\.0\.0/)
})
