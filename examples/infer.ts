/** Posts an observation with two JPEG files to a Turbo-Pi server: npx tsx examples/infer.ts [server]. */
import { readFile } from 'node:fs/promises'

const server = process.argv[2] ?? 'http://127.0.0.1:8000'
const key = process.env['TURBO_PI_API_KEY']
const file = (name: string) => readFile(new URL(name, import.meta.url))

const response = await fetch(`${server}/infer`, {
  method: 'POST',
  headers: { 'content-type': 'application/json', ...(key && { authorization: `Api-Key ${key}` }) },
  body: JSON.stringify({
    'observation/image': (await file('image.jpg')).toString('base64'),
    'observation/wrist_image': (await file('wrist_image.jpg')).toString('base64'),
    'observation/state': JSON.parse((await file('state.json')).toString()),
    prompt: (await file('prompt.txt')).toString().trim(),
    options: { num_steps: 10, seed: 7 },
  }),
})
const answer = (await response.json()) as { actions: number[][]; code?: string; detail?: string }
if (!response.ok) throw new Error(`${answer.code}: ${answer.detail}`)
console.log(
  `${answer.actions.length} actions of ${answer.actions[0]?.length} numbers; the first:`,
  answer.actions[0],
)
